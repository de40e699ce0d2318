/* Asks for names at a rate and looks after every answer, at once, whether its addresses are in a
 * set. Who asks is who looks: nothing that comes later is taken for having been there.
 *   push_reader [-w WINDOW] [-s SECONDS] [-c COMMAND] ADDRESS COUNT NETNS SET
 * RATE:SUFFIX:NAMES:PREFIX... SET: in_set.h, or "-": no looking. Of each stream asks A of
 * PREFIX0.SUFFIX, PREFIX1.SUFFIX and so on, RATE a second, however long the answers take; RATE 0:
 * as many as WINDOW in flight lets. NAMES: after so many it begins anew; 0: never. Ends after COUNT
 * questions in all, or SECONDS. Prints for each stream got without servfail wrong lost per_s p50
 * p99 p999 slowest look_p99 look_slowest without: answers whose address was not in the set; wrong:
 * neither SERVFAIL nor NOERROR with an address, or not asked for; lost: not answered within 2 s.
 * Times in microseconds, from the question to the kernel's stamp on the answer; look: from that
 * stamp until the set had been looked at. -c: runs it in NETNS then, and prints "back MS MS N": how
 * long until all N addresses that were answered are in the set again, since it lost the first, or
 * was made anew, and since the command began. */
#include "tests/bench/bench.h"
#include "tests/bench/in_set.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STREAMS_MAX 4
#define LATE_S	    2.0
#define SWEEP_S	    0.5
#define BACK_S	    5.0

struct values {
	float *at;
	size_t n, room;
};
struct stream {
	double rate;
	const char *suffix, *prefix;
	unsigned long names, sent, got, without, servfail, wrong, lost;
	struct values took_us, look_us;
};
struct asked {
	double at_s; /* 0: not waited for */
	struct stream *stream;
};

static struct stream streams[STREAMS_MAX];
static unsigned n_streams, window = 128;
static unsigned long sent, in_flight;
static struct asked asked[65536]; /* by id */
static struct in_set *set;
static double last_s; /* an answer came */
static bool keep;     /* the addresses, for -c */
static struct {
	uint8_t (*at)[4];
	size_t n, room;
} addresses;

/* The clock of the kernel's stamps. */
static double stamp_now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void values_add(struct values *v, double value)
{
	if (v->n == v->room)
		v->at = realloc(v->at, (v->room = 2 * v->room + 1024) * sizeof *v->at);
	if (!v->at)
		exit(1);
	v->at[v->n++] = (float)value;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* They are sorted. */
static double values_share(const struct values *v, unsigned long per_mille)
{
	size_t i = v->n * per_mille / 1000;

	return v->n ? (double)v->at[i < v->n ? i : v->n - 1] : 0;
}

static void address_keep(const uint8_t *address)
{
	if (addresses.n == addresses.room)
		addresses.at = realloc(addresses.at,
			(addresses.room = 2 * addresses.room + 1024) * sizeof *addresses.at);
	if (!addresses.at)
		exit(1);
	memcpy(addresses.at[addresses.n++], address, 4);
}

static void question(int fd, struct stream *s)
{
	uint8_t query[320];
	char name[256];
	size_t len;
	struct asked *a = &asked[sent & 0xffff];

	snprintf(name, sizeof name, "%s%lu.%s", s->prefix, s->names ? s->sent % s->names : s->sent,
		s->suffix);
	len = bench_question(query, name);
	query[0] = (uint8_t)(sent >> 8);
	query[1] = (uint8_t)sent;
	if (a->at_s > 0) { /* the one with this id before it */
		a->stream->lost++;
		in_flight--;
	}
	*a = (struct asked){stamp_now_s(), s};
	in_flight++;
	sent++;
	s->sent++;
	(void)send(fd, query, len, 0);
}

/* Behind the name at `at`. */
static size_t skip_name(const uint8_t *d, size_t len, size_t at)
{
	while (at < len && d[at] && d[at] < 0xc0)
		at += d[at] + 1u;
	return at + (at < len && d[at] >= 0xc0 ? 2 : 1);
}

/* Looks at each address of the answer. Returns how many there are. */
static unsigned look(struct stream *s, const uint8_t *d, size_t len)
{
	size_t at = skip_name(d, len, 12) + 4;
	unsigned n = 0, missing = 0;

	for (unsigned left = (unsigned)(d[6] << 8 | d[7]); left; left--) {
		size_t data_len;

		at = skip_name(d, len, at) + 10;
		if (at > len)
			break;
		data_len = (size_t)(d[at - 2] << 8 | d[at - 1]);
		if (d[at - 10] == 0 && d[at - 9] == 1 && data_len == 4 && at + 4 <= len) {
			n++;
			missing += set && !in_set_has(set, d + at);
			if (keep)
				address_keep(d + at);
		}
		at += data_len;
	}
	s->without += missing > 0;
	return n;
}

/* When the kernel had it. */
static double stamp_s(struct msghdr *m)
{
	struct timespec t = {0};

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS)
			memcpy(&t, CMSG_DATA(c), sizeof t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One; the ones behind it wait for our look at its set. False: none is there. */
static bool take(int fd)
{
	uint8_t d[1500];
	_Alignas(struct cmsghdr) char control[128];
	struct iovec vec = {d, sizeof d};
	struct msghdr m = {.msg_iov = &vec,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};
	ssize_t len = recvmsg(fd, &m, MSG_DONTWAIT);
	struct asked *a;
	struct stream *s;
	double came_s;

	if (len < 0)
		return false;
	a = &asked[len < 12 ? 0 : d[0] << 8 | d[1]];
	if (len < 12 || a->at_s <= 0) {
		streams[0].wrong++; /* nobody asked, or it was given up */
		return true;
	}
	s = a->stream;
	came_s = stamp_s(&m);
	if ((d[3] & 15) == 2) {
		s->servfail++;
	} else if ((d[3] & 15) != 0 || look(s, d, (size_t)len) == 0) {
		s->wrong++;
	} else {
		s->got++;
		values_add(&s->took_us, (came_s - a->at_s) * 1e6);
		if (set)
			values_add(&s->look_us, (stamp_now_s() - came_s) * 1e6);
	}
	a->at_s = 0;
	in_flight--;
	last_s = bench_now_s();
	return true;
}

static void give_up(void)
{
	double now_s = stamp_now_s();

	for (size_t id = 0; id < 65536; id++) {
		if (asked[id].at_s <= 0 || now_s - asked[id].at_s < LATE_S)
			continue;
		asked[id].stream->lost++;
		asked[id].at_s = 0;
		in_flight--;
	}
}

static void wait_for_answer(int fd, double left_s)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec pause = {.tv_sec = (time_t)left_s,
		.tv_nsec = (long)((left_s - (double)(time_t)left_s) * 1e9)};

	if (left_s > 0)
		(void)ppoll(&p, 1, &pause, NULL);
}

/* Asks what is due. Returns how long until the next is. */
static double ask(int fd, double since_start_s)
{
	double next_s = 1;

	for (unsigned i = 0; i < n_streams; i++) {
		struct stream *s = &streams[i];
		double due_s;

		/* One at a time: what comes meanwhile has to be looked at, too. */
		if (s->rate > 0 ? (double)s->sent <= since_start_s * s->rate : in_flight < window)
			question(fd, s);
		if (s->rate > 0)
			due_s = (double)s->sent / s->rate - since_start_s;
		else
			due_s = in_flight < window ? 0 : 1;
		next_s = due_s < next_s ? due_s : next_s;
	}
	return next_s;
}

/* Returns how long it took, up to the last answer. */
static double ask_all(int fd, unsigned long count, double most_s)
{
	double start_s = bench_now_s(), sweep_s = start_s + SWEEP_S, next_s;
	bool asking = true;

	last_s = start_s;
	while (asking || in_flight > 0) {
		while (take(fd))
			;
		asking = asking && sent < count && bench_now_s() < start_s + most_s;
		next_s = asking ? ask(fd, bench_now_s() - start_s) : SWEEP_S;
		wait_for_answer(fd, next_s);
		if (bench_now_s() > sweep_s) {
			give_up();
			sweep_s += SWEEP_S;
		}
	}
	return last_s - start_s;
}

static void print(struct stream *s, double took_s)
{
	qsort(s->took_us.at, s->took_us.n, sizeof *s->took_us.at, compare);
	qsort(s->look_us.at, s->look_us.n, sizeof *s->look_us.at, compare);
	printf("%lu %lu %lu %lu %lu %.0f %.1f %.1f %.1f %.1f %.1f %.1f\n", s->got, s->without,
		s->servfail, s->wrong, s->lost, (double)s->got / took_s,
		values_share(&s->took_us, 500), values_share(&s->took_us, 990),
		values_share(&s->took_us, 999), values_share(&s->took_us, 1000),
		values_share(&s->look_us, 990), values_share(&s->look_us, 1000));
}

static pid_t run(const char *netns, const char *command)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("ip", "ip", "netns", "exec", netns, "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	return pid;
}

/* Goes round through all of them: when it finds one that is lost, and when none was any more. */
static void wait_back(const char *netns, const char *command)
{
	double start_s = bench_now_s(), now_s = start_s, lost_s = 0, back_s = 0;
	pid_t pid = run(netns, command);
	bool ended = false;
	int status = 0;
	size_t i = 0;

	while (now_s < start_s + BACK_S && !(ended && back_s > 0)) {
		bool there = in_set_has(set, addresses.at[i]);

		now_s = bench_now_s();
		i = there ? i + 1 : i;
		if (i == addresses.n) {
			i = 0;
			back_s = lost_s > 0 && back_s == 0 ? now_s : back_s;
		} else if (!there && (lost_s == 0 || back_s > 0 || !in_set_exists(set))) {
			lost_s = now_s;
			back_s = 0;
			i = 0;
		}
		if (!ended && waitpid(pid, &status, WNOHANG) == pid) {
			ended = true;
			if (lost_s == 0) { /* they were back too quickly for us to see it */
				lost_s = now_s;
				i = 0;
			}
		}
	}
	if (back_s == 0 || status)
		printf("back never never %zu\n", addresses.n);
	else
		printf("back %.1f %.1f %zu\n", (back_s - lost_s) * 1e3, (back_s - start_s) * 1e3,
			addresses.n);
}

static bool read_stream(char *text, struct stream *ret)
{
	const char *rate = strsep(&text, ":"), *suffix = strsep(&text, ":");
	const char *names = strsep(&text, ":");

	if (!names || !text)
		return false;
	ret->rate = atof(rate);
	ret->suffix = suffix;
	ret->names = strtoul(names, NULL, 10);
	ret->prefix = text;
	return true;
}

static int open_socket(const char *address)
{
	struct sockaddr_storage to;
	socklen_t to_len = bench_address(address, "53", &to);
	int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	bench_set(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	bench_set(fd, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
	bench_set(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, to_len)) {
		perror("socket");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	const char *command = NULL;
	double most_s = 3600, took_s;
	int option, fd;

	while ((option = getopt(argc, argv, "+w:s:c:")) != -1) {
		if (option == 'w')
			window = (unsigned)atoi(optarg);
		else if (option == 's')
			most_s = atof(optarg);
		else if (option == 'c')
			command = optarg;
		else
			return 2;
	}
	argv += optind;
	argc -= optind;
	if (argc < 5 || argc - 4 > STREAMS_MAX || (command && strcmp(argv[3], "-") == 0))
		return 2;
	for (; (int)n_streams < argc - 4; n_streams++)
		if (!read_stream(argv[4 + n_streams], &streams[n_streams]))
			return 2;
	if (strcmp(argv[3], "-") != 0)
		set = in_set_open(argv[2], argv[3]);
	keep = command != NULL;
	(void)prctl(PR_SET_TIMERSLACK, 1UL);
	fd = open_socket(argv[0]);
	took_s = ask_all(fd, strtoul(argv[1], NULL, 10), most_s);
	for (unsigned i = 0; i < n_streams; i++)
		print(&streams[i], took_s);
	if (command && addresses.n) {
		fflush(stdout);
		wait_back(argv[2], command);
	}
	return 0;
}
