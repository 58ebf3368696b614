cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    static __forceinline int godb_lowest(long long relations) {
        unsigned long position;
        _BitScanForward64(&position, (unsigned __int64) relations);
        return (int) position;
    }
    #else
    static inline int godb_lowest(long long relations) {
        return __builtin_ctzll((unsigned long long) relations);
    }
    #endif
    /* Only where a set lies depends on this hash, never what is found. The sets of a chain are runs of bits,
       which one multiplication would crowd together. */
    static CYTHON_INLINE long long godb_spread(long long relations) {
        unsigned long long mixed = (unsigned long long) relations * 0x9E3779B97F4A7C15ULL;
        mixed = (mixed ^ (mixed >> 32)) * 0xD6E8FEB86659FD93ULL;
        return (long long) ((mixed ^ (mixed >> 32)) & 0x7FFFFFFF);
    }
    """
    int lowest "godb_lowest" (long long relations) noexcept nogil
    long long spread "godb_spread" (long long relations) noexcept nogil

cdef int find(long long relations, int* slots, long long wrap, long long* sets) noexcept nogil
cdef long long list_sets(
    long long size, long long limit, long long* adjacency, long long* sets, long long* near,
    long long* stack
) noexcept nogil
cdef void index_sets(long long count, long long* sets, int* slots, long long wrap) noexcept nogil
cdef long long stream_pairs(
    long long count, long long capacity, long long* adjacency, long long* sets, long long* near,
    int* slots, long long wrap, long long* stack, int* chunk
) noexcept nogil
cdef long long stream_splits(
    long long count, long long capacity, long long* below, long long* sets, int* slots, long long wrap,
    long long* stack, int* chunk
) noexcept nogil
cdef long long orientations(
    long long first, long long second, long long operators, long long* constraints, long long* free
) noexcept nogil
cdef long long orient_pairs(
    long long pairs, int* chunk, long long* sets, long long operators, long long* constraints,
    long long* free, int* built, int* oriented
) noexcept nogil
cdef void group_pairs(
    long long count, long long pairs, int* stream, int* ends, int* grouped
) noexcept nogil
