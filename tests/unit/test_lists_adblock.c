/* AdBlock's and AutoProxy's rules: each form and what it means, and what has no use for DNS. */
#include "tests/unit/lists_held.h"

#define LABEL "(?:^|\\.)"

/* The shapes of ../shared/data/rules/traps/real_lines.txt among them, with other names. */
static void rules_by_their_form(void **state)
{
	static const struct held_case cases[] = {
		{"||x.test^", "suffix x.test"},
		{"||x.test", "suffix x.test"},
		{"||x.test/", "suffix x.test"},
		{"||x.test^|", "suffix x.test"},
		{"||x.test|", "suffix x.test"},
		{"||x.test^*", "suffix x.test"},
		{"||x.test/*", "suffix x.test"},
		{"||X.Test^", "suffix x.test"},
		{"||x_1.test^", "suffix x_1.test"},
		{"||test^", "suffix test"},
		{"||x.test.^", "suffix x.test"},
		{"||goo", "regexp " LABEL "goo"},
		{"||x.test*", "regexp " LABEL "x\\.test"},
		{"||goo.*", "regexp " LABEL "goo\\."},
		{"||many.", "regexp " LABEL "many\\.[^.]+$"},
		{"||a.many.", "regexp " LABEL "a\\.many\\.[^.]+$"},
		{"||many*.", "regexp " LABEL "many.*\\.[^.]+$"},
		{"x.test", "suffix x.test"},
		{"x.test^", "suffix x.test"},
		{"x.test|", "suffix x.test"},
		{".x.test^", "suffix x.test"},
		{".x.test", "suffix x.test"},
		{"word", "keyword word"},
		{"-log.x.test^", "regexp -log\\.x\\.test$"},
		{"|x.test^", "exact x.test"},
		{"|x.test|", "exact x.test"},
		{"|x.te", "regexp ^x\\.te"},
		{"|http://x.test", "exact x.test"},
		{"|https://x.test/", "exact x.test"},
		{"|http://x.test^", "exact x.test"},
		{"http://x.test^", "exact x.test"},
		{"://x.test^", "exact x.test"},
		{"//x.test^", "exact x.test"},
		{"://*.x.test^", "below x.test"},
		{"://*.x.test", "below x.test"},
		{"|http://*.x.test/", "below x.test"},
		{"|http://*.x.test", "below x.test"},
		{"||*.x.test", "below x.test"},
		{"*.x.test^", "below x.test"},
		{"||cdn*.x.test", "regexp " LABEL "cdn.*\\.x\\.test$"},
		{"||cdn*.test^", "regexp " LABEL "cdn.*\\.test$"},
		{"||a.*.x.test/", "regexp " LABEL "a\\..*\\.x\\.test$"},
		{"|http://cdn*.x.test/", "regexp ^cdn.*\\.x\\.test$"},
		{"|http://*2.x.test", "regexp 2\\.x\\.test$"},
		{"||*-x.test^", "regexp -x\\.test$"},
		{"s*.xtest", "regexp s.*\\.xtest"},
		{"s*.x.test^", "regexp s.*\\.x\\.test$"},
		{"*-x.test*", "keyword -x.test"},
		{"*.x.*", "keyword .x."},
		{"||10.1.2.3^", "prefix 10.1.2.3/32"},
		{"|http://10.1.2.3/", "prefix 10.1.2.3/32"},
		{"10.1.2.3", "prefix 10.1.2.3/32"},
		{"||[2001:db8::1]^", "prefix 2001:db8::1/128"},
		{"||10.1.", "prefix 10.1.0.0/16"},
		{"||10.1.2.*", "prefix 10.1.2.0/24"},
		{"||10.*^", "unused"},
		{"||10.1*", "unused"},
		{"@@||x.test^|", "except suffix x.test"},
		{"@@x.test^", "except suffix x.test"},
		{"@@||*.x.test", "except below x.test"},
		{"@@|http://x.test", "except exact x.test"},
		{"@@||10.1.2.3^", "unused"},
		{"||x.test^$important", "important suffix x.test"},
		{"@@||x.test^$important", "except-important suffix x.test"},
		{"||x.test^$", "suffix x.test"},
		{"||x.test^ # why", "suffix x.test"},
	};

	(void)state;
	held_lines(LIST_ADBLOCK, cases, HELD_COUNT(cases));
}

static void what_has_no_use(void **state)
{
	static const struct held_case cases[] = {
		{"! a comment ||x.test^", ""},
		{"[Adblock Plus 2.0]", ""},
		{"[AutoProxy 0.2.9]", ""},
		{"# a comment", ""},
		{"## A title", ""},
		{"#\xe7\x94\xa8\xe4\xba\x8e", ""},
		{"||x.test^$image,script", "unused"},
		{"||x.test^$important,third-party", "unused"},
		{"@@||x.test^$~important", "unused"},
		{"||x.test:8040", "unused"},
		{"||x.test/*-*/a/*", "unused"},
		{"||x.test/p", "unused"},
		{"||x.test/?", "unused"},
		{"||x.test^*partner=", "unused"},
		{"||x.test^third-party", "unused"},
		{"||x.test*partner", "unused"},
		{"||x.*;sz=", "unused"},
		{"|http://x.test/a/b", "unused"},
		{"ws*://x.test^", "unused"},
		{"/banner?id=*x.test", "unused"},
		{"&ad=", "unused"},
		{"x.test##.advert", "unused"},
		{"x.test#@#.advert", "unused"},
		{"x.test#%#window.a = 1;", "unused"},
		{"##.advert", "unused"},
		{"[$path=/a]x.test##.b", "unused"},
		{"x.test$$script", "unused"},
		{"||", "unused"},
		{"@@", "unused"},
		{"|", "unused"},
		{"*", "unused"},
		{"$third-party", "unused"},
	};

	(void)state;
	held_lines(LIST_ADBLOCK, cases, HELD_COUNT(cases));
}

static void expressions(void **state)
{
	static const struct held_case cases[] = {
		/* Over names. */
		{"/-ad-/", "regexp -ad-"},
		{"/^ad(s)?.*/", "regexp ^ad(s)?.*"},
		{"/i*.x.test/", "regexp i*.x.test"},
		{"/ad#x/", "regexp ad#x"},
		{"@@/^ads\\./", "except regexp ^ads\\."},
		{"/ads$/", "regexp ads$"},
		{"/ads/$important", "important regexp ads"},
		{"/ads/$image", "unused"},
		/* Over URLs. */
		{"/^https?:\\/\\/[^\\/]+log\\.(.*)/", "regexp ^[^\\/]+log\\."},
		{"/^https?:\\/\\/[^\\/]+log\\.x\\.test\\/.*/", "regexp ^[^\\/]+log\\.x\\.test$"},
		{"/^https?://a[bc]?\\.x\\.test//", "regexp ^a[bc]?\\.x\\.test$"},
		{"/^http:\\/\\/a\\w+\\.x\\.test\\/?$/", "regexp ^a\\w+\\.x\\.test$"},
		{"/:\\/\\/a\\d{1,3}\\./", "regexp ^a\\d{1,3}\\."},
		{"/^https?:\\/\\/(?:a|b)\\./", "regexp ^(?:a|b)\\."},
		{"@@/^https?:\\/\\/(?=.*?(2x|ni))[a-z0-9.-]+\\.x\\.test$",
			"except regexp ^(?=.*?(2x|ni))[a-z0-9.-]+\\.x\\.test$"},
		/* That look at more than the host. */
		{"/^https?:\\/\\/.*\\.x\\.test/", "unused"},
		{"/^https?:\\/\\/(?=.*?2x)[a-z.]+\\.x\\.test/", "unused"},
		{"/^https?:\\/\\/[^.]+\\.x\\.test/", "unused"},
		{"/^https?:\\/\\/\\S+\\.x\\.test/", "unused"},
		{"/^https?:\\/\\/[\\w\\W]\\.x\\.test/", "unused"},
		{"/^https?:\\/\\/[+-9]\\.x\\.test/", "unused"},
		{"/^https?:\\/\\/x\\.test\\/ads/", "unused"},
		{"/^https?:\\/\\/a|b/", "unused"},
		{"/^https?:\\/\\/(a/", "unused"},
		{"/^https?:\\/\\/a)/", "unused"},
		{"/^https?:\\/\\/.*/", "unused"},
		{"/\\/banner\\/\\d+/", "unused"},
		{"/^ftp:\\/\\/x/", "unused"},
	};

	(void)state;
	held_lines(LIST_ADBLOCK, cases, HELD_COUNT(cases));
}

static void names_in_their_own_script(void **state)
{
	static const struct held_case cases[] = {
		{"||\xd0\xb1\xd0\xb0\xd0\xbd\xd0\xba.\xd1\x80\xd1\x83\xd1\x81^",
			"suffix xn--80ab2al.xn--p1acf"},
		{"||\xd0\x91\xd0\x90\xd0\x9d\xd0\x9a.test^", "suffix xn--80ab2al.test"},
		{"://*.\xd1\x80\xd1\x84^", "below xn--p1ai"},
		{"||\xd1\x80\xd1\x84.", "unused"},
		{"||\xd1\x80*.test^", "unused"},
		{"||\xd1\x80\xd1\x84", "unused"},
		{"\xd1\x80\xd1\x84", "unused"},
	};

	(void)state;
	held_lines(LIST_ADBLOCK, cases, HELD_COUNT(cases));
	log_skips(LIST_ADBLOCK, "||a.test^", "||\xff.test^", 3,
		"not a domain name: not UTF-8, or a label above 63 bytes");
}

static void what_cannot_be_read(void **state)
{
	static const char empty_label[] =
		"not a domain name: an empty label, one above 63 bytes, or above 255 bytes in all";
	char line[400];

	(void)state;
	log_skips(LIST_ADBLOCK, "||a.test^", "||a..test^", 3, empty_label);
	log_skips(LIST_ADBLOCK, "||a.test^", "some words of text", 1, "more than one word");
	(void)snprintf(line, sizeof line, "@@||%070d.test^", 0);
	log_skips(LIST_ADBLOCK, "||a.test^", line, 5, empty_label);
}

static void hosts_lines(void **state)
{
	(void)state;
	log_takes(LIST_ADBLOCK,
		"||a.test^\n0.0.0.0 b.test\n127.0.0.1\tc.test\n::1 localhost\n0.0.0.0 0.0.0.0\n"
		"fe80::1%lo0 localhost\n",
		"1:suffix a.test\n2:exact b.test\n3:exact c.test\n");
}

static void crlf_and_counts(void **state)
{
	static struct log log;
	struct list_counts counts;
	static const char text[] =
		"\xef\xbb\xbf[Adblock Plus 2.0]\r\n! Title: T\r\n\r\n||a.test^\r\n"
		"||a.test/x\r\n  ||b.test^  \r\nx.test##.a\r\n||c..test^";

	(void)state;
	assert_int_equal(log_read(&log, LIST_ADBLOCK, text, sizeof text - 1, &counts), 0);
	assert_string_equal(log.entries, "4:suffix a.test\n6:suffix b.test\n");
	assert_int_equal(counts.lines, 8);
	assert_int_equal(counts.entries, 2);
	assert_int_equal(counts.unused, 2);
	assert_int_equal(counts.skipped, 1);
}

static void meanings(void **state)
{
	static const struct {
		const char *text, *in, *out;
	} cases[] = {
		{"||x.test^", "x.test a.x.test b.a.x.test", "ax.test x.test.net test"},
		{"||goo", "goo a.goo goo.test goods.test a.goose.test", "agoo.test test"},
		{"||many.", "many.test a.many.test many.a", "many many.a.test amany.test"},
		{"||a.b.", "a.b.test x.a.b.test", "a.b b.test a.b.c.test"},
		{"|http://x.test/", "x.test", "a.x.test"},
		{"://*.x.test^", "a.x.test b.a.x.test", "x.test ax.test"},
		{"||cdn*.x.test", "cdn.x.test cdn1.x.test a.cdn2.b.x.test cdn.a.x.test",
			"x.test acdn.x.test cdn1.x.test.net cdnx.test"},
		{"s*.xtest", "s1.xtest.com as.xtest s.b.xtest.net", "x.xtest.com sxtest.com"},
		{"*-ad.x.test*", "a-ad.x.test b.a-ad.x.test a-ad.x.test.net", "ad.x.test"},
		{"-log.x.test^", "a-log.x.test b.a-log.x.test -log.x.test", "log.x.test"},
		{"|x.te", "x.te x.test x.te.net", "a.x.test"},
		{"||x.test^\n@@||a.x.test^", "x.test b.x.test", "a.x.test b.a.x.test"},
		{"||x.test^\n||b.x.test^$important\n@@||x.test^", "b.x.test a.b.x.test",
			"x.test a.x.test"},
		{"||x.test^$important\n@@||x.test^\n@@||a.x.test^$important", "x.test b.x.test",
			"a.x.test"},
		{"/^https?:\\/\\/[^\\/]+log\\.(.*)/", "alog.test a.log.test alog.a.b",
			"log.test alogs.test"},
		{"||x.test^\n@@/^https?:\\/\\/(?=.*?(2x3|ni5))[a-z0-9.-]+\\.x\\.test$",
			"x.test a.x.test", "2x3.x.test a--ni5.x.test a.2x3.x.test"},
	};

	(void)state;
	for (size_t i = 0; i < HELD_COUNT(cases); i++)
		held_takes(LIST_ADBLOCK, cases[i].text, cases[i].in, cases[i].out);
}

static void addresses(void **state)
{
	struct held h;

	(void)state;
	held_open(&h, LIST_ADBLOCK, "||10.1.2.3^\n||10.2.\n|http://[2001:db8::1]/\n");
	assert_true(held_address(&h, "10.1.2.3"));
	assert_false(held_address(&h, "10.1.2.4"));
	assert_true(held_address(&h, "10.2.255.1"));
	assert_false(held_address(&h, "10.20.0.1"));
	assert_true(held_address(&h, "2001:db8::1"));
	held_close(&h);
}

static void hostile(void **state)
{
	static struct log log;
	static char text[1 << 20];
	struct list_counts counts;

	(void)state;
	/* A line of wildcards as long as lines may be, and one of 1 MB. */
	memset(text, '*', sizeof text);
	memcpy(text, "||a.test^\n||b", 13);
	text[60000] = '\n';
	text[60001] = '|';
	memcpy(text + sizeof text - 11, "\n||c.test^\n", 11);
	assert_int_equal(log_read(&log, LIST_ADBLOCK, text, sizeof text, &counts), 0);
	assert_int_equal(counts.lines, 4);
	assert_int_equal(counts.skipped, 1);
	memset(text, '(', 50000);
	text[0] = '/';
	memcpy(text + 1, "^https?://", 10);
	text[49999] = '/';
	assert_int_equal(log_read(&log, LIST_ADBLOCK, text, 50000, &counts), 0);
	assert_int_equal(counts.unused, 1);
	/* Bytes of every kind. */
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)(1 + (i * 2654435761u >> 7) % 255);
	(void)log_read(&log, LIST_ADBLOCK, text, sizeof text, &counts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_by_their_form),
		cmocka_unit_test(what_has_no_use),
		cmocka_unit_test(expressions),
		cmocka_unit_test(names_in_their_own_script),
		cmocka_unit_test(what_cannot_be_read),
		cmocka_unit_test(hosts_lines),
		cmocka_unit_test(crlf_and_counts),
		cmocka_unit_test(meanings),
		cmocka_unit_test(addresses),
		cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
