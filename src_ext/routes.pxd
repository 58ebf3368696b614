from godb_fast._kernels.lexer cimport Fingerprint, Lexer
from godb_fast._kernels.skeletons cimport Skeletons

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object thing, object name, object value) except -1


cdef class Planned:
    cdef readonly object bucket, outcome, plan, served, text
    cdef readonly tuple literals
    cdef readonly long long chosen, fingerprint
    cdef object routes
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


cdef class Kept:
    cdef readonly object decision
    cdef object owner
    cdef Planned planned


cdef class Routes:
    cdef readonly long long decided
    cdef Lexer lexer
    cdef Skeletons skeletons
    cdef object decision, prepared, steering, make
    cdef dict templates, exact
    cdef long long most
    cdef object _find(self, object sql)
    cdef Kept _made(self, object sql, object owner, Planned planned)
