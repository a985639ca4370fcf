/* Only in an instrumented executable: writes its counters to the file that O2_PROFILE names, when the process ends.
 *
 * The compiler's own runtime does the same, but does not come with the compiler. What is written is read by profile.py:
 * the sizes of the three sections, how far the counters lie behind the records, the sections. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTION(name) extern char __start___llvm_prf_##name[], __stop___llvm_prf_##name[];
#define BYTES(name) (size_t)(__stop___llvm_prf_##name - __start___llvm_prf_##name)
SECTION(data)
SECTION(cnts)
SECTION(names)

static void write_counters(void)
{
    const char *path = getenv("O2_PROFILE");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    if (file < 0)
        return;
    uint64_t head[] = {BYTES(data), BYTES(cnts), BYTES(names), __start___llvm_prf_cnts - __start___llvm_prf_data};
    struct iovec parts[] = {
        {head, sizeof head},
        {__start___llvm_prf_data, BYTES(data)},
        {__start___llvm_prf_cnts, BYTES(cnts)},
        {__start___llvm_prf_names, BYTES(names)},
    };
    writev(file, parts, sizeof parts / sizeof parts[0]);
    close(file);
}

/* In place of libc's, which is how the extension ends. */
_Noreturn void _exit(int status)
{
    write_counters();
    for (;;)
        syscall(SYS_exit_group, status);
}
