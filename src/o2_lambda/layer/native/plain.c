/* The entry of the plain executable: CPython is started, then the extension.
 *
 * Invariants, of the snapshot's entry as well:
 *  - A peer that closes its end is an error code, never a signal: SIGPIPE is ignored before anything else.
 *  - Local time is UTC in a form that libc needs no zone file for; Lambda's own TZ names one.
 */
#include "interpreter.h"
#include <signal.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    setenv("TZ", "UTC0", 1);
    PyStatus status = interpreter_start(NO_HASH_SEED);
    if (PyStatus_Exception(status))
        interpreter_fail(status);
    interpreter_run(argc, argv);
}
