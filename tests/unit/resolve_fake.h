/* Transports without a wire, instead of gateway/transport: a try stays open until the test answers
 * it. Servers are told apart by the ports of the stage's upstreams, which nobody asks. */
#ifndef TUNGATE_TESTS_RESOLVE_FAKE_H
#define TUNGATE_TESTS_RESOLVE_FAKE_H

#include "tests/unit/resolve_stage.h"

void fake_reset(void);
unsigned fake_asked(const struct upstream *u);	/* tries so far */
unsigned fake_resent(const struct upstream *u); /* questions sent again */
/* The open try at that server, NULL: there is none. */
struct transport_try *fake_try(const struct upstream *u);
uint16_t fake_type(const struct upstream *u); /* what that one asks for */
/* Each fails the test if no try is open there. `last` is of the address in the answer. */
void fake_answer(const struct upstream *u, uint8_t last);
void fake_answer_address(const struct upstream *u, const char *address);
void fake_answer_for(const struct upstream *u, const char *address, uint8_t ttl_s);
/* Letters of the question in lower case. */
void fake_answer_lower(const struct upstream *u, uint8_t last);
void fake_error(const struct upstream *u, unsigned flags); /* rcode, TC */
void fake_slow(const struct upstream *u);
void fake_fail(const struct upstream *u, int error);

#endif
