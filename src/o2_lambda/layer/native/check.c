/* What is checked, and why it proves that a resumed process is as good as a started one:
 *  - AWS-LC and zlib were not used: their state is as it was when main() began. So no CPU flag, no random number
 *    generator and no error queue of the build machine can have been read by anybody.
 *  - libc's allocator was not used: nothing before the image lives outside of the arena.
 *  - No word in the image points out of it: to the stack, the vDSO, the environment, a mapping of this process.
 *  - No word that was written here points into the state of libc, which starts anew: an open stream, a locale, a thread.
 *  - There is no other thread and no open file that was not there at the start.
 * A word is taken for a pointer when its value is an address in question, at every second byte: bytecode holds pointers
 * that are aligned no better. A number that only looks like one fails the build, which is the safe side.
 */
#include "check.h"
#include "arena.h"
#include "interpreter.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILES_MAX 64
#define MAPPINGS_MAX 64
#define FINDINGS_MAX 20
#define MAPS "/proc/self/maps"
#define POINTER_ALIGNMENT 2

extern unsigned char __executable_start[];
extern const unsigned char __malloc_context[]; /* of libc's allocator; its first word is a secret that is never 0 in use */

struct search {
    const struct image *image;
    struct { unsigned long begin, end; } outside[MAPPINGS_MAX]; /* what is mapped beyond the executable */
    int mappings;
    int report;
    int findings;
};

static uint64_t open_files(void)
{
    uint64_t open = 0;
    for (int file = 0; file < FILES_MAX; file++) {
        if (fcntl(file, F_GETFD) != -1)
            open |= (uint64_t)1 << file;
    }
    return open;
}

bool check_begin(struct baseline *baseline)
{
    size_t bytes = untouched_end - libraries_begin;
    void *copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return false;
    baseline->untouched = memcpy(copy, libraries_begin, bytes);
    baseline->open_files = open_files();
    return true;
}

static bool find_outside(struct search *search)
{
    static char text[16384]; /* a line takes some 100 bytes */
    int file = open(MAPS, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = 0, got;
    while ((got = read(file, text + bytes, sizeof text - 1 - bytes)) > 0)
        bytes += got;
    close(file);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        unsigned long from, to;
        char readable;
        if (search->mappings == MAPPINGS_MAX || sscanf(line, "%lx-%lx %c", &from, &to, &readable) != 3)
            return false;
        if (from >= (uintptr_t)image_end && readable == 'r') {
            search->outside[search->mappings].begin = from;
            search->outside[search->mappings++].end = to;
        }
    }
    memset(text, 0, sizeof text); /* it is part of the image */
    return search->mappings > 0;
}

static bool is_outside(const struct search *search, uintptr_t address)
{
    for (int i = 0; i < search->mappings; i++) {
        if (address >= search->outside[i].begin && address < search->outside[i].end)
            return true;
    }
    return false;
}

static bool is_as_linked(const struct image *image, const unsigned char *place)
{
    const unsigned char *initial = image_initial(image, place);
    return initial && memcmp(initial, place, sizeof(uintptr_t)) == 0;
}

static void search_words(struct search *search, const unsigned char *begin, const unsigned char *end)
{
    uintptr_t word;
    for (const unsigned char *place = begin; place + sizeof word <= end; place += POINTER_ALIGNMENT) {
        memcpy(&word, place, sizeof word);
        const char *what = NULL;
        if (is_outside(search, word))
            what = "out of the image";
        else if (word >= (uintptr_t)libraries_begin && word < (uintptr_t)libraries_end)
            what = "into a library's state";
        if (what && !is_as_linked(search->image, place) && search->findings++ < FINDINGS_MAX)
            dprintf(search->report, "%s: the word at %p is %#lx\n", what, (const void *)place, (unsigned long)word);
    }
}

static bool differs(const void *one, const void *other, size_t bytes)
{
    return memcmp(one, other, bytes) != 0;
}

static const char *forbidden(const struct baseline *baseline)
{
    if (differs(baseline->untouched, libraries_begin, untouched_end - libraries_begin))
        return "AWS-LC or zlib was used";
    if (*(const uint64_t *)__malloc_context)
        return "libc's allocator was used";
    if (open_files() != baseline->open_files)
        return "a file was opened or closed";
    PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    if (!thread || PyThreadState_Next(thread))
        return "there is another thread";
    return NULL;
}

bool check_end(const struct baseline *baseline, const struct image *image, int report)
{
    const char *reason = forbidden(baseline);
    if (reason) {
        dprintf(report, "%s\n", reason);
        return false;
    }
    struct search search = {.image = image, .report = report};
    if (!find_outside(&search)) {
        dprintf(report, "%s is unreadable\n", MAPS);
        return false;
    }
    search_words(&search, (const unsigned char *)image->writable->p_vaddr, libraries_begin);
    search_words(&search, libraries_end, arena + arena_used);
    if (search.findings > 0)
        dprintf(report, "%d words must not be in the image\n", search.findings);
    return search.findings == 0;
}
