/* The entry of the plain executable: CPython is started, then the extension.
 *
 * Invariants, of the snapshot's entry as well:
 *  - process_begin() comes first.
 *  - Local time is UTC in a form that libc needs no zone file for; Lambda's own TZ names one.
 */
#include "interpreter.h"
#include <stdlib.h>

int main(int argc, char **argv)
{
    process_begin();
    setenv("TZ", "UTC0", 1);
    PyStatus status = interpreter_start(NO_HASH_SEED);
    if (PyStatus_Exception(status))
        interpreter_fail(status);
    PyGC_Disable(); /* a start makes objects that stay; the loop sets them apart and enables it */
    interpreter_run(argc, argv);
}
