cdef class Planned:
    cdef readonly object fingerprint, literals, bucket, outcome, plan, served, text
    cdef readonly long long chosen
    cdef Route route
    cdef object values
    cdef long long begun, read, estimated, searched


cdef class Route:
    cdef object owner, lend, bind, rule
    cdef long long slots
    cdef list pool
    cdef dict own
    cdef Planned _estimated(self, object found, long long begun, list natives, bint searches)
    cdef Planned _plan(self, object found, long long begun)


cdef class Proved:
    cdef object owner
    cdef Route route
    cdef list entries
    cdef Planned _find(self, object sql, object found, long long begun)


cdef class Routes:
    cdef readonly long long decided
    cdef object scan, decision, prepared, steering, make
    cdef dict templates, exact
    cdef long long most
    cdef object _made(self, object sql, object owner, Planned planned)
