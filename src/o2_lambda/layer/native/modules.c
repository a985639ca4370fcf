/* In place of CPython's generated Modules/config.c: the built-in modules, and no other.
 * What is not named here is dropped by the linker, with all that only it uses. */
#include "Python.h"

#define INTERPRETER(M) /* what CPython's own start needs */ \
    M(_abc) M(_codecs) M(_io) M(_signal) M(_stat) M(_thread) M(_weakref) M(errno) M(gc) M(posix) M(time) M(_imp)
#define EXTENSION(M) /* what the extension imports beyond */ \
    M(_json) M(_sha2) M(_socket) M(_ssl) M(binascii) M(select) M(_struct) M(zlib)

#define DECLARE(name) extern PyObject *PyInit_##name(void);
INTERPRETER(DECLARE)
EXTENSION(DECLARE)
extern PyObject *PyMarshal_Init(void);
extern PyObject *_PyWarnings_Init(void);

#define ENTRY(name) {#name, PyInit_##name},
struct _inittab _PyImport_Inittab[] = {
    INTERPRETER(ENTRY)
    EXTENSION(ENTRY)
    {"marshal", PyMarshal_Init},
    {"_warnings", _PyWarnings_Init},
    {"builtins", NULL}, /* made before any import, named for sys.builtin_module_names */
    {"sys", NULL},
    {NULL, NULL},
};
