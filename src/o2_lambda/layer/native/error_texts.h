/* Compiled in front of CPython's _ssl.c: OpenSSL's error texts are loaded when the first error is to be told. OpenSSL would
 * load all of them before the first handshake, a tenth of what a context takes. */
#include "openssl/err.h"
#include <stdbool.h>

extern int ossl_err_load_crypto_strings(void);
extern int ossl_err_load_SSL_strings(void);

static inline const char *loaded_error_string(unsigned long code)
{
    static bool loaded; /* guarded by the interpreter's lock */
    if (!loaded) {
        ossl_err_load_crypto_strings();
        ossl_err_load_SSL_strings();
        loaded = true;
    }
    return ERR_reason_error_string(code);
}

#define ERR_reason_error_string loaded_error_string
