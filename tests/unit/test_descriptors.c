/* Who may take the last descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "gateway/base/descriptors.h"

#define ROOM	8
#define RESERVE 4 /* half of it */

static unsigned open_now(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Takes as many as it gets; returns how many. */
static unsigned take_all(enum descriptors_user user, int *fds)
{
	unsigned n = 0;
	int fd;

	while ((fd = descriptors_take(user, dup(0))) >= 0) {
		assert_true(n < ROOM);
		fds[n++] = fd;
	}
	assert_int_equal(fd, -EMFILE);
	return n;
}

static void give_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static void without_bounds_all_are_taken(void **state)
{
	int fd = descriptors_take(DESCRIPTORS_CLIENT, dup(0));

	(void)state;
	assert_true(fd >= 0);
	assert_true(descriptors_to_spare(fd));
	close(fd);
	assert_int_equal(descriptors_take(DESCRIPTORS_ASK, -EACCES), -EACCES);
	assert_int_equal(descriptors_refused(), 0);
}

static void each_user_stops_at_its_bound(void **state)
{
	unsigned before = open_now();
	int fds[ROOM], more[ROOM], kept;

	(void)state;
	descriptors_init(before + ROOM);
	kept = dup(0);
	assert_true(descriptors_to_spare(kept));
	close(kept);

	assert_int_equal(take_all(DESCRIPTORS_CLIENT, fds), RESERVE - 1);
	assert_int_equal(descriptors_refused(), 1);
	assert_false(descriptors_to_spare(fds[RESERVE - 2]));
	/* What clients cannot have is there for their questions. */
	assert_int_equal(take_all(DESCRIPTORS_ASK, more), 1);
	assert_int_equal(descriptors_refused(), 2);
	/* One that was refused has been closed, and the reserve is free. */
	assert_int_equal(open_now(), before + RESERVE);
	assert_int_equal(descriptors_take(DESCRIPTORS_ASK, -EMFILE), -EMFILE);
	assert_int_equal(descriptors_refused(), 3);

	give_all(fds, RESERVE - 1);
	give_all(more, 1);
	assert_int_equal(take_all(DESCRIPTORS_ASK, fds), RESERVE);
	give_all(fds, RESERVE);
}

static void a_large_limit_keeps_little(void **state)
{
	int low = dup(0), high = fcntl(0, F_DUPFD, 990);

	(void)state;
	assert_true(low >= 0 && high >= 990);
	descriptors_init(1000);
	assert_true(descriptors_to_spare(low));
	assert_int_equal(descriptors_take(DESCRIPTORS_ASK, low), low);
	assert_int_equal(descriptors_take(DESCRIPTORS_ASK, high), -EMFILE);
	high = fcntl(0, F_DUPFD, 980);
	assert_int_equal(descriptors_take(DESCRIPTORS_ASK, high), high);
	assert_int_equal(descriptors_take(DESCRIPTORS_CLIENT, high), -EMFILE);
	close(low);
}

/* All are in use by then: the daemon gets on as well as it can. */
static void no_room_at_all(void **state)
{
	(void)state;
	descriptors_init(open_now() - 1);
	assert_int_equal(descriptors_take(DESCRIPTORS_ASK, dup(0)), -EMFILE);
	assert_int_equal(descriptors_take(DESCRIPTORS_ASK, -ENFILE), -ENFILE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_bounds_all_are_taken),
		cmocka_unit_test(each_user_stops_at_its_bound),
		cmocka_unit_test(a_large_limit_keeps_little),
		cmocka_unit_test(no_room_at_all),
	};

	/* What the shell may have left here: no gaps, so that a number tells how many are open. */
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
