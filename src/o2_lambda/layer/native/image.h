/* The image: this executable once more, with its memory as it is now in place of the memory that it starts with. */
#ifndef O2_IMAGE_H
#define O2_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>


/* Set by the linker script. The libraries' state is never written into an image: it is as the linker made it. */
extern unsigned char libraries_begin[], untouched_end[], libraries_end[], image_end[];

/* This executable's file, and where its writable memory lies. */
struct image {
    unsigned char *file; /* a private copy in memory, from which the image is written */
    size_t bytes;
    Elf64_Phdr *writable;
    Elf64_Phdr *cold; /* behind it: the functions that a start does not need */
};

bool image_open(struct image *image, const char *path);

/* The bytes in the file from which an address is loaded; NULL where memory starts as zeros, or is not the file's. */
unsigned char *image_initial(const struct image *image, const void *address);

bool image_write(const struct image *image, const char *path);

#endif
