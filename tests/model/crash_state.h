/* What a ledger is worth: the state that a take-over makes of it, as a text that two ledgers can be compared by. */
#pragma once

#include "crash_scene.h"

/* Which parts of the ledger an operation on the scene may write, as it was when the scene was new. */
struct scene_image;

/* Copies the scene's ledger. */
struct scene_image *image_new(struct scene *scene);
void image_free(struct scene_image *image);

/* Puts the scene's ledger back to the image and takes its pool over from that. */
void image_restore(const struct scene_image *image, struct scene *scene);

/* What is held and by whom, which sessions there are, and the size of the pool. Blocks that were granted after the image was
 * taken are told apart by their order only: where they lie is the allocator's choice. The caller frees it. */
char *state_text(const struct scene_image *image, struct scene *scene);

/* The state that a take-over of the scene's ledger as it stands would recover to: of a copy, so the scene goes on. Every
 * invariant is walked, also after the recovered pool was worked on. What was recovered before is known by the words of the ledger. Ends the program on a
 * fault. Lives until image_free. */
const char *state_recovered(struct scene_image *image, const struct scene *scene);

/* How many different ledgers have been recovered. */
size_t image_states(const struct scene_image *image);
