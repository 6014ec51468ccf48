/* Fork detection by MADV_WIPEONFORK. The mark is written once, before any other thread sees it. */
#include "process.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_bytes(void) {
        return (size_t)sysconf(_SC_PAGESIZE);
}

int process_mark_init(struct process_mark *mark) {
        uint32_t *page = mmap(
                NULL, page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED)
                return -ENOMEM;
        *mark = (struct process_mark){.page = page, .pid = getpid()};
        *page = 1;
        if (madvise(page, page_bytes(), MADV_WIPEONFORK) != 0)
                process_mark_deinit(mark);
        return 0;
}

void process_mark_deinit(struct process_mark *mark) {
        if (mark->page)
                munmap((void *)mark->page, page_bytes());
        mark->page = NULL;
}
