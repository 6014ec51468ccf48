// managed_shared_memory as it is unless set otherwise: rbtree_best_fit under a mutex that processes share.
#include "choices_boost.h"

#include <boost/interprocess/managed_shared_memory.hpp>
#include <new>

namespace interprocess = boost::interprocess;

static interprocess::managed_shared_memory *segment; // lives as long as the process

int boost_segment_make(const char *name, uint64_t bytes) {
        try {
                segment = new interprocess::managed_shared_memory(
                        interprocess::create_only, name, bytes);
        } catch (const std::exception &) {
                segment = nullptr;
        }
        interprocess::shared_memory_object::remove(name);
        return segment ? 0 : -1;
}

int boost_segment_pairs(uint64_t bytes, unsigned count) {
        for (unsigned i = 0; segment && i < count; i++) {
                void *memory = segment->allocate(bytes, std::nothrow);
                if (!memory)
                        return -1;
                segment->deallocate(memory);
        }
        return segment ? 0 : -1;
}
