/* Two allocators behind one malloc(), told apart by address.
 *
 * Before the image is written, memory comes from the arena, front to back, and is part of the image. In the resumed
 * process it comes from libc, whose own state is as fresh as in any process.
 *
 * Invariants:
 *  - A block belongs to the arena if and only if its address lies within the arena's used part. That part never grows
 *    once the arena is closed, so a block's owner never changes.
 *  - What lies in the arena is never taken back by libc: to free it is to forget it. What the image holds bounds the loss.
 *  - Bytes of the arena that nobody uses are zero: they pack well, and two builds write the same ones.
 *  - libc's allocator is never called before the arena is closed (the checker looks at its state).
 */
#include "arena.h"
#include "interpreter.h"
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_BYTES ((size_t)32 << 20)
#define ALIGNMENT 16
#define OBJECT_ALIGNMENT 4096 /* of CPython's pools, which it would lose one of otherwise */

/* musl's allocator under the names that its own code calls it by. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

/* In front of each block of the arena. */
struct header {
    size_t bytes; /* of the block */
    size_t unused; /* keeps blocks aligned */
};

unsigned char arena[ARENA_BYTES] __attribute__((section(".bss.arena"), aligned(OBJECT_ALIGNMENT)));
size_t arena_used;
static bool closed;

void arena_close(void)
{
    closed = true;
}

static bool is_ours(const void *block)
{
    return (uintptr_t)block - (uintptr_t)arena < arena_used;
}

static size_t *bytes_of(void *block)
{
    return &((struct header *)block)[-1].bytes;
}

static void *take(size_t bytes, size_t alignment)
{
    size_t start = (arena_used + alignment - 1) & ~(alignment - 1);
    if (bytes > ARENA_BYTES || start > ARENA_BYTES - bytes) {
        errno = ENOMEM;
        return NULL;
    }
    arena_used = start + bytes;
    return arena + start;
}

static void *take_block(size_t bytes)
{
    struct header *header = take(bytes > ARENA_BYTES ? bytes : sizeof *header + bytes, ALIGNMENT);
    if (!header)
        return NULL;
    header->bytes = bytes;
    return header + 1;
}

/* Gives the last block of the arena another size. */
static bool resize_last(void *block, size_t bytes)
{
    unsigned char *start = block;
    size_t *old = bytes_of(block), offset = start - arena;
    if (offset + *old != arena_used || bytes > ARENA_BYTES - offset)
        return false;
    if (bytes < *old)
        memset(start + bytes, 0, *old - bytes);
    *old = bytes;
    arena_used = offset + bytes;
    return true;
}

static void forget(void *block)
{
    if (closed)
        return;
    memset(block, 0, *bytes_of(block));
    resize_last(block, 0);
}

void *malloc(size_t bytes)
{
    return closed ? __libc_malloc(bytes) : take_block(bytes);
}

void *calloc(size_t count, size_t size)
{
    if (closed)
        return __libc_calloc(count, size);
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return take_block(bytes); /* zero: never used before */
}

void free(void *block)
{
    if (is_ours(block))
        forget(block);
    else
        __libc_free(block);
}

void *realloc(void *block, size_t bytes)
{
    if (!block)
        return malloc(bytes);
    if (!is_ours(block))
        return __libc_realloc(block, bytes);
    size_t old = *bytes_of(block);
    if (!closed && resize_last(block, bytes))
        return block;
    void *moved = malloc(bytes);
    if (!moved)
        return NULL;
    memcpy(moved, block, old < bytes ? old : bytes);
    free(block);
    return moved;
}

static void *take_objects(void *context, size_t bytes)
{
    (void)context;
    if (!closed)
        return take(bytes, OBJECT_ALIGNMENT);
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

static void free_objects(void *context, void *block, size_t bytes)
{
    (void)context;
    if (!is_ours(block))
        munmap(block, bytes);
}

void arena_serve_objects(void)
{
    PyObject_SetArenaAllocator(&(PyObjectArenaAllocator){NULL, take_objects, free_objects});
}
