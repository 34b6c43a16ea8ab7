#ifndef BILLINGD_CPQ_SHIM_H
#define BILLINGD_CPQ_SHIM_H

#include <libpq-fe.h>
#include <sys/eventfd.h>

/* The PG_DIAG_* names are character macros, which Swift does not import. */
static const int billingd_pg_sqlstate = PG_DIAG_SQLSTATE;
static const int billingd_pg_message = PG_DIAG_MESSAGE_PRIMARY;
static const int billingd_pg_detail = PG_DIAG_MESSAGE_DETAIL;
static const int billingd_pg_constraint = PG_DIAG_CONSTRAINT_NAME;
static const int billingd_pg_column = PG_DIAG_COLUMN_NAME;
static const int billingd_pg_table = PG_DIAG_TABLE_NAME;

/* eventfd(2) is not part of Swift's Glibc module. */
static inline int billingd_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
static inline void billingd_eventfd_raise(int fd) { (void)eventfd_write(fd, 1); }
static inline void billingd_eventfd_clear(int fd) {
    eventfd_t count;
    (void)eventfd_read(fd, &count);
}

#endif
