/* Writes the image.
 *
 * Invariants:
 *  - The image has one writable segment, loaded at the addresses at which it was written: nothing is relocated. It
 *    ends with the arena, of which it holds the used part, up to its last page that is not zero; only what is never
 *    written follows.
 *  - The state of the libraries (libc, AWS-LC, zlib and the compiler's) is not the memory's but the linker's: a resumed
 *    process initializes them like any other process, with its own CPU, clock, environment and random numbers.
 *  - The bytes depend on the executable and the imported modules alone.
 */
#include "image.h"
#include "arena.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define LARGEST_PAGE 65536 /* of any kernel; what the linker aligns segments to on arm64 */

bool image_open(struct image *image, const char *path)
{
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0)
        return false;
    image->bytes = status.st_size;
    image->file = mmap(NULL, image->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    close(file);
    if (image->file == MAP_FAILED)
        return false;
    Elf64_Ehdr *header = (Elf64_Ehdr *)image->file;
    Elf64_Phdr *segments = (Elf64_Phdr *)(image->file + header->e_phoff);
    int writable = 0, last = 0;
    for (int i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type != PT_LOAD)
            continue;
        last = i;
        if (segments[i].p_flags & PF_W) {
            image->writable = &segments[i];
            writable++;
        }
    }
    image->cold = &segments[last];
    return writable == 1 && image->cold == image->writable + 1;
}

unsigned char *image_initial(const struct image *image, const void *address)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)image->file;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(image->file + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        uintptr_t offset = (uintptr_t)address - segments[i].p_vaddr;
        if (segments[i].p_type == PT_LOAD && offset < segments[i].p_filesz)
            return image->file + segments[i].p_offset + offset;
    }
    return NULL;
}

static bool write_all(int file, const void *data, size_t bytes)
{
    for (const char *rest = data; bytes > 0;) {
        ssize_t written = write(file, rest, bytes);
        if (written <= 0)
            return false;
        rest += written;
        bytes -= written;
    }
    return true;
}

/* `cold` is where the file holds the segment behind the writable one. */
static bool write_parts(const struct image *image, const unsigned char *cold, int file)
{
    unsigned char *start = (unsigned char *)image->writable->p_vaddr;
    const unsigned char *end = start + image->writable->p_filesz;
    return write_all(file, image->file, image->writable->p_offset) &&
           write_all(file, start, libraries_begin - start) &&
           write_all(file, image_initial(image, libraries_begin), libraries_end - libraries_begin) &&
           write_all(file, libraries_end, end - libraries_end) &&
           lseek(file, image->cold->p_offset, SEEK_SET) != -1 &&
           write_all(file, cold, image->cold->p_filesz);
}

static bool is_zero(const unsigned char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

bool image_write(const struct image *image, const char *path)
{
    Elf64_Ehdr *header = (Elf64_Ehdr *)image->file;
    header->e_shoff = header->e_shnum = header->e_shstrndx = 0; /* sections lie behind what is written */
    size_t used = (arena_used + PAGE - 1) & ~(size_t)(PAGE - 1);
    image->writable->p_memsz = (uintptr_t)arena + used - image->writable->p_vaddr;
    while (used > 0 && is_zero(arena + used - PAGE))
        used -= PAGE;
    image->writable->p_filesz = (uintptr_t)arena + used - image->writable->p_vaddr;
    const unsigned char *cold = image->file + image->cold->p_offset;
    size_t end = image->writable->p_offset + image->writable->p_filesz;
    image->cold->p_offset = (end + LARGEST_PAGE - 1) & ~(size_t)(LARGEST_PAGE - 1); /* as its address is aligned */
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (file < 0)
        return false;
    bool complete = write_parts(image, cold, file);
    return close(file) == 0 && complete;
}
