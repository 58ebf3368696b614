from godb_fast._kernels.lexer cimport Fingerprint, Lexer
from godb_fast._kernels.skeletons cimport Skeletons

cdef class Planned:
    cdef readonly object bucket, outcome, plan, served, text
    cdef readonly tuple literals
    cdef readonly long long chosen, fingerprint
    cdef object make
    cdef Route route
    cdef object values
    cdef long long begun, read, estimated, searched


cdef class Route:
    cdef object owner, lend, bind, rule
    cdef long long slots
    cdef list pool
    cdef dict own
    cdef Planned _begun(self, Fingerprint found, long long begun)
    cdef Planned _plan(self, Fingerprint found, long long begun)


cdef class Proved:
    cdef object owner
    cdef Route route
    cdef list entries
    cdef Planned _find(self, str sql, Fingerprint found, long long begun)


cdef class Routes:
    cdef readonly long long decided
    cdef Lexer lexer
    cdef Skeletons skeletons
    cdef object decision, prepared, steering, make
    cdef dict templates, exact
    cdef long long most
    cdef object _made(self, object sql, object owner, Planned planned)
