/* For the tests of conf: the texts around one group of servers. */
#ifndef TUNGATE_TESTS_CONF_GROUPS_H
#define TUNGATE_TESTS_CONF_GROUPS_H

/* One group, up to the case, beside others that it may name. */
#define GROUPS(u)                                                                                  \
	"upstreams:\n"                                                                             \
	"  u: {" u "}\n"                                                                           \
	"  v: {servers: tls://192.0.2.2}\n"                                                        \
	"  w: {servers: udp://192.0.2.3}\n"                                                        \
	"lists: {l: x}\n"                                                                          \
	"egress: {p: {type: socks5, server: 192.0.2.9}, d: {type: direct, upstream: v}, x: "       \
	"{type: "                                                                                  \
	"reject}}\n"                                                                               \
	"fakeip: {pool6: off, except: l}\n"                                                        \
	"default: {upstream: v}\n"
#define GROUP(keys) GROUPS("servers: tls://192.0.2.1, " keys)
#define HEAD                                                                                       \
	"fakeip: {pool6: off}\n"                                                                   \
	"default: {upstream: v}\n"                                                                 \
	"upstreams:\n"                                                                             \
	"  v: {servers: tls://192.0.2.2}\n"

#endif
