/* The first process of a virtual machine that holds nothing but a kernel and the extension: starts it again and again
 * between a stub of Lambda and a TLS server that never answers, and says how each life ended. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define API_PORT 9001
#define BACKEND_PORT 5080
#define PATIENCE_MS 60000
#define HANDSHAKE 0x16
#define EXECUTABLE "/opt/extensions/o2-lambda-extension"

static char *settings[] = {
    "AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001", "O2_ENDPOINT=https://127.0.0.1:5080", "O2_ORGANIZATION_ID=default",
    "O2_AUTHORIZATION_HEADER=Basic YTpi", NULL,
};

struct life {
    int api, backend; /* connections, -1: none */
    bool asked, greeted; /* for the next event; the backend, by TLS */
    char request[16384];
    size_t bytes;
};

static int listen_on(int port)
{
    struct sockaddr_in address = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0)
        perror("listen");
    return listener;
}

static void answer(int connection, const char *fields, const char *body)
{
    dprintf(connection, "HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: id\r\n%sContent-Length: %zu\r\n\r\n%s", fields,
            strlen(body), body);
}

/* Takes whole requests out of what has come. The event is answered when the TLS handshake has begun. */
static void serve(struct life *life)
{
    char *end;
    life->request[life->bytes] = 0;
    while ((end = strstr(life->request, "\r\n\r\n"))) {
        const char *length = strcasestr(life->request, "content-length:");
        size_t whole = end + 4 - life->request + (length && length < end ? strtoul(length + 15, NULL, 10) : 0);
        if (life->bytes < whole)
            return;
        if (strstr(life->request, "/register") && strstr(life->request, "/register") < end)
            answer(life->api, "", "{\"functionName\":\"f\",\"functionVersion\":\"1\",\"handler\":\"h\"}");
        else if (strstr(life->request, "/telemetry") && strstr(life->request, "/telemetry") < end)
            answer(life->api, "", "\"OK\"");
        else
            life->asked = true;
        memmove(life->request, life->request + whole, life->bytes - whole + 1);
        life->bytes -= whole;
    }
}

static void receive(struct life *life)
{
    ssize_t got = read(life->api, life->request + life->bytes, sizeof life->request - 1 - life->bytes);
    if (got > 0) {
        life->bytes += got;
        serve(life);
    }
}

static bool live(int api, int backend)
{
    struct life life = {.api = -1, .backend = -1};
    pid_t child = fork();
    if (child == 0) {
        execve(EXECUTABLE, (char *[]){EXECUTABLE, NULL}, settings);
        _exit(127);
    }
    while (!life.asked || !life.greeted) {
        struct pollfd files[] = {{api, POLLIN, 0}, {backend, POLLIN, 0}, {life.api, POLLIN, 0}, {life.backend, POLLIN, 0}};
        if (poll(files, 4, PATIENCE_MS) <= 0)
            break;
        if (files[0].revents)
            life.api = accept4(api, NULL, NULL, SOCK_CLOEXEC);
        if (files[1].revents)
            life.backend = accept4(backend, NULL, NULL, SOCK_CLOEXEC);
        if (files[2].revents)
            receive(&life);
        unsigned char first = 0;
        if (files[3].revents && read(life.backend, &first, 1) == 1)
            life.greeted = first == HANDSHAKE;
    }
    char event[128];
    snprintf(event, sizeof event, "{\"eventType\":\"SHUTDOWN\",\"shutdownReason\":\"spindown\",\"deadlineMs\":%lld}",
             (time(NULL) + 2) * 1000LL);
    answer(life.api, "Lambda-Extension-Event-Identifier: e\r\n", event);
    int status = -1;
    close(life.backend);
    waitpid(child, &status, 0);
    close(life.api);
    return life.asked && life.greeted && status == 0;
}

int main(int argc, char **argv)
{
    int starts = argc > 1 ? atoi(argv[1]) : 1, passed = 0; /* the kernel passes on what follows "--" */
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    struct utsname kernel;
    mount("proc", "/proc", "proc", 0, NULL);
    ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &loopback);
    int api = listen_on(API_PORT), backend = listen_on(BACKEND_PORT);
    for (int i = 0; i < starts; i++)
        passed += live(api, backend);
    uname(&kernel);
    printf("\n%s: %d of %d starts\n", kernel.release, passed, starts);
    fflush(stdout);
    reboot(RB_POWER_OFF);
}
