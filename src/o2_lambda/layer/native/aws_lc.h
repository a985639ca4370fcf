/* Compiled in front of CPython's _ssl.c: what AWS-LC does in another way than OpenSSL, for which that was written. */
#include "pyconfig.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"
#include <pthread.h>

/* The default list begins with OpenSSL's security level, which AWS-LC does not know: chain_verify() keeps to it. */
#undef PY_SSL_DEFAULT_CIPHERS
#define PY_SSL_DEFAULT_CIPHERS 0
#define PY_SSL_DEFAULT_CIPHER_STRING "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!SHA1"
#define PY_SSL_MIN_PROTOCOL TLS1_2_VERSION

/* A server's affair, which AWS-LC does not have. */
#define SSL_VERIFY_POST_HANDSHAKE 0
#define SSL_set_post_handshake_auth(ssl, on) ((void)(ssl), (void)(on))
#define SSL_CTX_set_post_handshake_auth(context, on) ((void)(context), (void)(on))

/* What breaks it must take 2^112 steps at least. */
#define RSA_BITS_MIN 2048
#define EC_BITS_MIN 224

/* In a handshake: with Ed25519, and without SHA-1. */
static const uint16_t signature_algorithms[] = {
    SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PKCS1_SHA256,
    SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA384, SSL_SIGN_RSA_PKCS1_SHA384,
    SSL_SIGN_ECDSA_SECP521R1_SHA512, SSL_SIGN_RSA_PSS_RSAE_SHA512, SSL_SIGN_RSA_PKCS1_SHA512,
    SSL_SIGN_ED25519,
};

static inline int key_is_strong(const EVP_PKEY *key)
{
    int kind = key ? EVP_PKEY_id(key) : EVP_PKEY_NONE;
    int bits = key ? EVP_PKEY_bits(key) : 0;
    return kind == EVP_PKEY_RSA ? bits >= RSA_BITS_MIN : kind == EVP_PKEY_EC ? bits >= EC_BITS_MIN : key != NULL;
}

/* That of a trusted root is not looked at. */
static inline int signature_is_strong(const X509 *certificate)
{
    int digest;
    return X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0 ||
           !OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &digest, NULL) ||
           (digest != NID_md5 && digest != NID_sha1);
}

/* Called for each certificate of a chain. */
static inline int chain_verify(int good, X509_STORE_CTX *chain)
{
    X509 *certificate = X509_STORE_CTX_get_current_cert(chain);
    if (!good || (key_is_strong(X509_get0_pubkey(certificate)) && signature_is_strong(certificate)))
        return good;
    X509_STORE_CTX_set_error(chain, X509_V_ERR_EE_KEY_TOO_SMALL);
    return 0;
}

static inline const char *verify_text(long error)
{
    return error == X509_V_ERR_EE_KEY_TOO_SMALL ? "a key or a signature is too weak" :
                                                  X509_verify_cert_error_string(error);
}

/* AWS-LC hands a session that can be resumed to a callback, once its ticket has come: a connection keeps the last. */
static int session_index;
static pthread_once_t session_once = PTHREAD_ONCE_INIT;

static inline void session_free(void *ssl, void *session, CRYPTO_EX_DATA *data, int index, long number, void *pointer)
{
    SSL_SESSION_free(session);
}

static inline void session_prepare(void)
{
    session_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, session_free);
}

static inline int session_keep(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION *former = SSL_get_ex_data(ssl, session_index);
    if (!SSL_set_ex_data(ssl, session_index, session))
        return 0;
    SSL_SESSION_free(former);
    return 1;
}

static inline SSL_SESSION *session_of(SSL *ssl)
{
    SSL_SESSION *session = SSL_get_ex_data(ssl, session_index);
    if (session)
        SSL_SESSION_up_ref(session);
    return session;
}

static inline SSL_CTX *context_new(const SSL_METHOD *method)
{
    pthread_once(&session_once, session_prepare);
    SSL_CTX *context = SSL_CTX_new(method);
    size_t count = sizeof signature_algorithms / sizeof signature_algorithms[0];
    if (context && !SSL_CTX_set_verify_algorithm_prefs(context, signature_algorithms, count)) {
        SSL_CTX_free(context);
        return NULL;
    }
    if (context) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, session_keep);
    }
    return context;
}

#define SSL_CTX_new context_new
#define SSL_CTX_set_verify(context, mode, callback) SSL_CTX_set_verify(context, mode, chain_verify)
#define SSL_get1_session session_of
#define X509_verify_cert_error_string verify_text
