/* Memory that is made before the image is written, and becomes part of it. */
#ifndef O2_ARENA_H
#define O2_ARENA_H

#include <stddef.h>

extern unsigned char arena[];
extern size_t arena_used; /* bytes of it that are part of the image */

/* From now on memory is the process's own: nothing is taken from the arena any more. */
void arena_close(void);

/* Lets CPython take the large blocks that it cuts its objects from out of the arena, too. Before CPython is started. */
void arena_serve_objects(void);

#endif
