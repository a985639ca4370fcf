/* Proves, before an image is written, that it holds nothing of the process that writes it. */
#ifndef O2_CHECK_H
#define O2_CHECK_H

#include "image.h"

/* What must still be so when the image is written. Taken before anything else happens. */
struct baseline {
    const unsigned char *untouched; /* a copy of the state of the libraries that nobody may use yet */
    uint64_t open_files; /* one bit per descriptor */
};

bool check_begin(struct baseline *baseline);

/* Describes on `report`, a file descriptor, what is wrong with the memory that is to become the image; true: nothing. */
bool check_end(const struct baseline *baseline, const struct image *image, int report);

#endif
