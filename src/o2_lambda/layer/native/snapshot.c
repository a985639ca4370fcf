/* The entry of the snapshot executable, and of the generator that writes it.
 *
 * The generator, run by the build, starts CPython, runs a statement that imports the extension's modules, and writes this
 * executable once more with all that in its memory. The result resumes there: it has nothing to start.
 *
 * Invariants, beside those of the arena, the image and the checker:
 *  - The modules that are imported before hold definitions only: no socket, clock, environment or random number, and
 *    nothing made by AWS-LC.
 *  - The generator sees nothing of the machine that it runs on: its environment and its standard streams are made up.
 *  - Of the writing process CPython keeps nothing: its thread is detached before, and the process's own adopted after.
 *  - The hash seed is the same in every process. So no dict or set is ever built from keys that somebody else chooses.
 */
#include "arena.h"
#include "check.h"
#include "image.h"
#include "interpreter.h"
#include "pycore_import.h"
#include "pycore_runtime.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HASH_SEED 20261126
#define STREAMS 3

static bool is_image;
static PyThreadState *thread; /* in the image: the one thread state that there is */

static _Noreturn void give_up(int report, const char *what)
{
    dprintf(report, "the snapshot cannot be made: %s\n", what);
    _exit(1);
}

/* Standard streams as Lambda's: pipes. Returns the descriptor of what was standard error. */
static int replace_streams(void)
{
    int ends[2], report = dup(STDERR_FILENO);
    if (report < 0 || pipe(ends) != 0)
        _exit(1);
    dup2(ends[0], STDIN_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    return report;
}

/* What is garbage goes; what is left is never looked at by the collector again, so that its pages stay shared. */
static bool freeze_objects(void)
{
    PyGC_Collect();
    PyObject *collector = PyImport_ImportModule("gc");
    PyObject *done = collector ? PyObject_CallMethod(collector, "freeze", NULL) : NULL;
    Py_XDECREF(collector);
    Py_XDECREF(done);
    return done != NULL;
}

static PyObject *environment(void)
{
    PyObject *module = PyImport_ImportModule("posix");
    PyObject *variables = module ? PyObject_GetAttrString(module, "environ") : NULL;
    Py_XDECREF(module);
    return variables;
}

/* The dict that posix made when it was imported: others hold it already. */
static bool refresh_environment(void)
{
    PyObject *variables = environment();
    if (!variables)
        return false;
    PyDict_Clear(variables);
    for (char **entry = environ; *entry; entry++) {
        const char *sign = strchr(*entry, '=');
        if (!sign)
            continue;
        PyObject *key = PyBytes_FromStringAndSize(*entry, sign - *entry), *value = PyBytes_FromString(sign + 1);
        if (!key || !value || !PyDict_SetDefault(variables, key, value))
            return false;
        Py_DECREF(key);
        Py_DECREF(value);
    }
    Py_DECREF(variables);
    return true;
}

/* Gives up the interpreter lock, and all that names this thread to CPython or to libc. */
static void detach_thread(void)
{
    thread = PyEval_SaveThread();
    /* Frames that have returned: they point to the stack. */
    memset(thread->datastack_top, 0, (char *)thread->datastack_limit - (char *)thread->datastack_top);
    thread->thread_id = 0;
    thread->native_thread_id = 0;
    _PyRuntime.main_thread = 0;
    PyThread_tss_delete(&_PyRuntime.autoTSSkey);
    PyThread_tss_delete(&_PyRuntime.trashTSSkey);
}

static void adopt_thread(void)
{
    if (PyThread_tss_create(&_PyRuntime.autoTSSkey) != 0 || PyThread_tss_create(&_PyRuntime.trashTSSkey) != 0 ||
        PyThread_tss_set(&_PyRuntime.autoTSSkey, thread) != 0)
        abort();
    thread->thread_id = PyThread_get_thread_ident();
    thread->native_thread_id = PyThread_get_thread_native_id();
    _PyRuntime.main_thread = thread->thread_id;
    PyEval_RestoreThread(thread);
}

/* What was imported is never read as bytecode again. */
static void blank_imported(const struct image *image, const struct _frozen *module)
{
    for (; module->name; module++) {
        PyObject *name = PyUnicode_FromString(module->name);
        PyObject *imported = PyImport_GetModule(name);
        if (imported)
            memset(image_initial(image, module->code), 0, module->size);
        Py_XDECREF(imported);
        Py_DECREF(name);
    }
}

static _Noreturn void generate(const char *own_path, const char *image_path, const char *imports)
{
    static char *no_environment[] = {"TZ=UTC0", NULL};
    struct baseline baseline;
    struct image image;
    environ = no_environment;
    int report = replace_streams();
    if (!check_begin(&baseline) || !image_open(&image, own_path))
        give_up(report, own_path);
    arena_serve_objects();
    PyStatus status = interpreter_start(HASH_SEED);
    if (PyStatus_Exception(status))
        give_up(report, status.err_msg);
    dup2(report, STDERR_FILENO);
    if (PyRun_SimpleString(imports) != 0)
        give_up(report, imports);
    blank_imported(&image, _PyImport_FrozenBootstrap);
    blank_imported(&image, _PyImport_FrozenStdlib);
    PyObject *variables = environment();
    if (!variables || !freeze_objects())
        give_up(report, "CPython fails");
    PyDict_Clear(variables);
    detach_thread();
    arena_close();
    is_image = true;
    if (!check_end(&baseline, &image, report))
        give_up(report, "see above");
    if (!image_write(&image, image_path))
        give_up(report, image_path);
    _exit(0);
}

int main(int argc, char **argv)
{
    process_begin();
    if (!is_image) {
        if (argc != 4)
            give_up(STDERR_FILENO, "usage: generator OWN_PATH IMAGE PYTHON_STATEMENT");
        generate(argv[1], argv[2], argv[3]);
    }
    setenv("TZ", "UTC0", 1);
    adopt_thread();
    if (!refresh_environment())
        PyErr_Print();
    interpreter_run(argc, argv);
}
