/* A netlink socket of nf_tables and the batches that go over it. A batch is one transaction: all of
 * its messages or none. The kernel works on it inside send(), so its answers are already queued
 * when send() returns; nothing here waits longer than the deadline that is passed in. One thread
 * uses a socket and its batches.
 *
 * Only the last message asks for an acknowledgement: a message that failed is reported by itself,
 * so the acknowledgement of the last one ends the answer. */
#ifndef TUNGATE_NETLINK_BATCH_H
#define TUNGATE_NETLINK_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlattr;
struct nlmsghdr;

struct nft_socket {
	int fd; /* -1: closed */
	uint32_t seq;
	bool stale;	 /* an answer may still come that nobody waits for */
	uint8_t *answer; /* NFT_ANSWER_BYTES */
};
#define NFT_ANSWER_BYTES 65536

/* 0, -EPROTONOSUPPORT (no nf_tables in this kernel), -EPERM (no CAP_NET_ADMIN), -ENOMEM, … */
int nft_socket_open(struct nft_socket *s);
void nft_socket_close(struct nft_socket *s);

/* One message outside of a batch (a GET). visit is called for each message of the answer; its
 * result other than 0 ends the reading and is returned. 0, the kernel's errno, -ETIMEDOUT. */
typedef int nft_visit(void *arg, const struct nlmsghdr *answer);
int nft_request(struct nft_socket *s, uint16_t type, uint16_t family, uint16_t flags,
	void (*fill)(struct nlmsghdr *message, const void *arg), const void *fill_arg,
	nft_visit *visit, void *arg, int timeout_ms);

struct nft_batch {
	uint8_t *buf;
	size_t len, size_bytes;
	size_t last; /* where the last message begins */
	uint32_t first_seq, next_seq;
	int error; /* sticky: -ENOMEM when the buffer could not grow */
	struct nlmsghdr *open;
	struct nlattr *nest; /* the list of elements in it */
};

int nft_batch_init(struct nft_batch *b, size_t size_bytes);
void nft_batch_fini(struct nft_batch *b);

void nft_batch_begin(struct nft_batch *b, struct nft_socket *s);
/* Right after the begin: the batch fails with -ERESTART if anybody has committed since this
 * generation. */
void nft_batch_require(struct nft_batch *b, uint32_t generation);
/* The generation of all tables: each commit, whoever makes it, adds one (and 0 is left out). */
int nft_generation(struct nft_socket *s, uint32_t *ret, int timeout_ms);
/* A new message with room_bytes free behind its header; written with mnl_attr_put*(). Never NULL:
 * after an error all go to the beginning of the buffer, and the commit returns the error. */
struct nlmsghdr *nft_batch_open(
	struct nft_batch *b, uint16_t type, uint16_t family, uint16_t flags, size_t room_bytes);
/* Its sequence number, by which an error names it. */
uint32_t nft_batch_close(struct nft_batch *b);
bool nft_batch_empty(const struct nft_batch *b);

struct nft_error {
	uint32_t seq;	 /* of the message; 0: the batch as a whole */
	int error;	 /* negative errno */
	uint32_t offset; /* of the attribute that is to blame, in the message; 0: not told */
};
typedef void nft_error_visit(void *arg, const struct nft_error *error);
/* Sends it. 0: committed. Else nothing of it is in the kernel: visit (may be NULL) got every
 * message that failed, and the first error is returned. -ETIMEDOUT: unknown, the kernel did not
 * answer in time. */
int nft_batch_commit(struct nft_batch *b, struct nft_socket *s, int timeout_ms,
	nft_error_visit *visit, void *arg);
/* The message with this sequence number, for the text of an error; NULL: none. */
const struct nlmsghdr *nft_batch_message(const struct nft_batch *b, uint32_t seq);

#endif
