/* What newer kernels know and Debian 12's liburing 2.3 does not name. The numbers are the kernel's
 * ABI; whether the running kernel has them is asked by probe, never of the headers. */
#ifndef TUNGATE_LOOP_COMPAT_H
#define TUNGATE_LOOP_COMPAT_H

#define COMPAT_IORING_OP_SEND_ZC	47 /* 6.0; came together with multishot receive */
#define COMPAT_IORING_OP_READ_MULTISHOT 49 /* 6.7 */

#endif
