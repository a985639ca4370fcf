/* Compiled in front of CPython's _json.c, whose scanner notes the keys of all objects in a dict, to make equal ones one
 * object. A dict of foreign keys under a known hash seed can be made slow on purpose: here every key stands for itself. */
#include "Python.h"

static inline int key_itself(PyObject *memo, PyObject *key, PyObject *value, PyObject **result)
{
    (void)memo;
    (void)value;
    *result = Py_NewRef(key);
    return 0;
}

#define PyDict_SetDefaultRef key_itself
