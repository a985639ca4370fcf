/* An isolated CPython that runs the extension frozen into the executable. */
#ifndef O2_INTERPRETER_H
#define O2_INTERPRETER_H

#define PY_SSIZE_T_CLEAN
#include "Python.h"

#define NO_HASH_SEED 0 /* a fresh one for each process */

/* What holds before anything else: a peer that closes its end is an error code, never a signal, and memory, which holds
 * credentials, is never written to a core file. */
void process_begin(void);

/* Starts CPython. `hash_seed` fixes the hashes of strings, which is for those who keep them. */
PyStatus interpreter_start(unsigned long hash_seed);

/* Runs main() of the extension with these arguments. It ends the process by itself; this call never returns either. */
_Noreturn void interpreter_run(int argc, char **argv);

/* Prints why something did not work and ends the process. */
_Noreturn void interpreter_fail(PyStatus status);

#endif
