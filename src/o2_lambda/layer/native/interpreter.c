/* Invariants:
 *  - Nothing of the machine steers the interpreter: no PYTHON* variable, no site, no user files, no search path, no
 *    locale. What is not built in or frozen in does not exist.
 *  - Nothing is read from disk before main() of the extension runs.
 *  - main() ends the process by itself; coming back from it is a bug and exits with 1.
 */
#include "interpreter.h"
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define ENTRY_MODULE "o2_lambda.extension.main"
#define ENTRY_FUNCTION "main"

void process_begin(void)
{
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static PyStatus preinitialize(void)
{
    PyPreConfig config;
    PyPreConfig_InitIsolatedConfig(&config);
    config.utf8_mode = 1;
    return Py_PreInitialize(&config);
}

static PyStatus set_strings(PyConfig *config)
{
    /* Everything that a search for the standard library would compute, so that none takes place. */
    struct { wchar_t **field; const wchar_t *value; } strings[] = {
        {&config->program_name, L"o2-lambda-extension"},
        {&config->executable, L""},
        {&config->base_executable, L""},
        {&config->prefix, L""},
        {&config->base_prefix, L""},
        {&config->exec_prefix, L""},
        {&config->base_exec_prefix, L""},
        {&config->stdlib_dir, L""},
        {&config->platlibdir, L"lib"},
        {&config->filesystem_encoding, L"utf-8"},
        {&config->filesystem_errors, L"surrogateescape"},
        {&config->stdio_encoding, L"utf-8"},
        {&config->stdio_errors, L"backslashreplace"},
    };
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        PyStatus status = PyConfig_SetString(config, strings[i].field, strings[i].value);
        if (PyStatus_Exception(status))
            return status;
    }
    return PyStatus_Ok();
}

PyStatus interpreter_start(unsigned long hash_seed)
{
    PyStatus status = preinitialize();
    if (PyStatus_Exception(status))
        return status;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.module_search_paths_set = 1;
    config.pathconfig_warnings = 0;
    config.use_frozen_modules = 1;
    config.write_bytecode = 0;
    config.code_debug_ranges = 0;
    config.use_hash_seed = hash_seed != NO_HASH_SEED;
    config.hash_seed = hash_seed;
    status = set_strings(&config);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return status;
}

static PyObject *list_of(int argc, char **argv)
{
    PyObject *arguments = PyList_New(argc);
    for (int i = 0; arguments && i < argc; i++) {
        PyObject *argument = PyUnicode_DecodeFSDefault(argv[i]);
        if (!argument)
            Py_CLEAR(arguments);
        else
            PyList_SET_ITEM(arguments, i, argument);
    }
    return arguments;
}

void interpreter_run(int argc, char **argv)
{
    PyObject *module = PyImport_ImportModule(ENTRY_MODULE);
    PyObject *arguments = list_of(argc, argv);
    if (module && arguments)
        Py_XDECREF(PyObject_CallMethod(module, ENTRY_FUNCTION, "O", arguments));
    if (PyErr_Occurred())
        PyErr_Print();
    fflush(NULL);
    _exit(1);
}

void interpreter_fail(PyStatus status)
{
    Py_ExitStatusException(status);
}
