// Linux's epoll and eventfd, which the Glibc module leaves out.
#ifndef BILLINGD_CEPOLL_SHIM_H
#define BILLINGD_CEPOLL_SHIM_H
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif
