/* See loop_memory.h. Untouched blocks cost nothing. Used by the main thread before others exist, and by the thread of a loop when
 * it frees; each block has an owner of its own. */
#include "loop_memory.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BLOCKS      72u    /* loops: the workers' and the main thread's */
#define BLOCK_BYTES 16384u /* a pointer for each of 2,000 descriptors */

static struct block { alignas(16) char bytes[BLOCK_BYTES]; } blocks[BLOCKS];
static _Atomic bool used[BLOCKS];

/* Its index, or BLOCKS: it is none of these. */
static size_t block_index(const void *memory) {
        const char *first = blocks[0].bytes, *at = memory;
        return at < first || at >= first + sizeof(blocks) ? BLOCKS
                                                          : (size_t)(at - first) / sizeof(*blocks);
}

static void *block_take(size_t bytes) {
        for (size_t i = 0; bytes <= BLOCK_BYTES && i < BLOCKS; i++)
                if (!atomic_exchange(&used[i], true))
                        return blocks[i].bytes;
        return NULL;
}

static void loop_free(void *memory) {
        size_t index = block_index(memory);
        if (index < BLOCKS)
                atomic_store(&used[index], false);
        else
                free(memory);
}

/* libuv calls it for these tables alone, and a block has room for all that a table here becomes. */
static void *loop_realloc(void *memory, size_t bytes) {
        bool aside = block_index(memory) < BLOCKS;
        if (aside && bytes <= BLOCK_BYTES)
                return memory;
        void *larger = memory ? NULL : block_take(bytes);
        if (larger)
                return larger;
        larger = realloc(aside ? NULL : memory, bytes);
        if (larger && aside) {
                memcpy(larger, memory, BLOCK_BYTES);
                loop_free(memory);
        }
        return larger;
}

void loop_memory_set_aside(void) {
        uv_replace_allocator(malloc, loop_realloc, calloc, loop_free);
}
