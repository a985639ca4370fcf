/* In place of CPython's Modules/getpath.c: the launcher gives every path, so there is nothing to search for. */
#include "Python.h"
#include "pycore_pathconfig.h"

PyStatus _PyConfig_InitPathConfig(PyConfig *config, int compute_path_config)
{
    (void)config;
    (void)compute_path_config;
    return PyStatus_Ok();
}
