cdef unsigned long long xxh64(unsigned char* data, Py_ssize_t size, unsigned long long seed) noexcept nogil
