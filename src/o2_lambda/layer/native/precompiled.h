/* Read once for all files of CPython's core, most of which include nearly all of it. */
#include "Python.h"

#include "pycore_call.h"
#include "pycore_interp.h"
#include "pycore_object.h"
#include "pycore_pyerrors.h"
#include "pycore_pystate.h"
