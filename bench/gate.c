/* gate GROUP PROGRAM: enters a cgroup, waits for a byte on standard input, becomes PROGRAM. So neither the fork nor the
 * move into the group is part of what is measured. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char pid[16], byte;
    if (argc < 3)
        return 2;
    int length = snprintf(pid, sizeof pid, "%d", getpid());
    int members = open(argv[1], O_WRONLY | O_CLOEXEC);
    if (members < 0 || write(members, pid, (size_t)length) != length)
        return 3;
    if (write(STDOUT_FILENO, "r", 1) != 1 || read(STDIN_FILENO, &byte, 1) != 1)
        return 4;
    execv(argv[2], argv + 2);
    return 5;
}
