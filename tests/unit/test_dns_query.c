#include "tests/unit/dns_packet.h"

/* Parses an exact copy. */
static enum dns_parse parse(const struct packet *p, struct dns_query *q, enum dns_rcode *ret_rcode)
{
	uint8_t *copy = exact(p->b, p->len);
	enum dns_parse verdict;

	memset(q, 0xee, sizeof *q);
	*ret_rcode = DNS_NOERROR;
	verdict = dns_query_parse(copy, p->len, q, ret_rcode);
	free(copy);
	return verdict;
}

static void assert_answered(const struct packet *p, enum dns_rcode want)
{
	struct dns_query q;
	enum dns_rcode rcode;

	assert_int_equal(parse(p, &q, &rcode), DNS_PARSE_ANSWER);
	assert_int_equal(rcode, want);
}

static void begin(struct packet *p, unsigned flags, unsigned additional)
{
	put_header(p, 0x1234, flags, COUNTS(1, 0, 0, additional));
	put_question(p, "wWw.Example.TEST", DNS_A, DNS_CLASS_IN);
}

static void reads_a_query(void **state)
{
	struct dns_name want = name_of("www.example.test");
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	begin(&p, DNS_RD | DNS_CD, 0);
	assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_QUERY);
	assert_int_equal(q.id, 0x1234);
	assert_int_equal(q.flags, DNS_RD | DNS_CD);
	assert_int_equal(q.type, DNS_A);
	assert_int_equal(q.class, DNS_CLASS_IN);
	assert_false(q.has_opt);
	assert_false(q.dnssec_ok);
	assert_int_equal(q.udp_size, 512);
	assert_int_equal(dns_udp_limit(&q), 512);
	assert_int_equal(q.question_len, want.len + 4);
	assert_memory_equal(q.question, p.b + 12, q.question_len); /* case kept */
	assert_true(dns_name_equal(&q.name, &want));
	for (size_t i = q.name.len; i % 8; i++)
		assert_int_equal(q.name.b[i], 0);
}

static void reads_opt(void **state)
{
	static const struct {
		unsigned sent, size, limit;
	} sizes[] = {{0, 512, 512}, {511, 512, 512}, {512, 512, 512}, {1000, 1000, 1000},
		{1232, 1232, 1232}, {4096, 4096, 1232}, {65535, 65535, 1232}};
	static const uint8_t options[] = {0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xfe, 0, 0};
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		begin(&p, DNS_RD, 1);
		put_opt(&p, sizes[i].sent, i % 2 ? 0x8000 : 0x7fff, options, sizeof options);
		assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_QUERY);
		assert_true(q.has_opt);
		assert_int_equal(q.dnssec_ok, i % 2);
		assert_int_equal(q.udp_size, sizes[i].size);
		assert_int_equal(dns_udp_limit(&q), sizes[i].limit);
	}
}

/* OPT need not be alone or last; other records, also with pointers, are stepped over (IXFR and TSIG
 * send such). */
static void steps_over_records(void **state)
{
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	put_header(&p, 1, 0, COUNTS(1, 1, 1, 3));
	put_question(&p, "a.test", DNS_AAAA, DNS_CLASS_IN);
	put_a(&p, "@12", 60, 1);
	put_record(&p, "test", 65280, 0, 0);
	put_a(&p, "x.@14", 60, 1);
	put_opt(&p, 1400, 0x8000, "", 0);
	put_record(&p, "key", 250, 0, 3);
	put_bytes(&p, "\0\0\0", 3);
	assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_QUERY);
	assert_true(q.has_opt);
	assert_int_equal(q.udp_size, 1400);
}

/* A reply to a reply is the start of a loop. */
static void ignores_responses_and_scraps(void **state)
{
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	for (unsigned opcode = 0; opcode < 16; opcode++) {
		begin(&p, DNS_QR | opcode << 11, 0);
		assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_IGNORE);
	}
	begin(&p, DNS_RD, 0);
	for (p.len = 0; p.len < DNS_HEADER_SIZE; p.len++)
		assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_IGNORE);
}

static void cut_anywhere_is_formerr(void **state)
{
	struct packet p;
	size_t whole, question;

	(void)state;
	begin(&p, DNS_RD, 1);
	question = p.len;
	put_opt(&p, 1232, 0, "\0\3\0\2ab", 6);
	whole = p.len;
	for (p.len = DNS_HEADER_SIZE; p.len < whole; p.len++) {
		struct dns_query q;
		enum dns_rcode rcode;

		assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_ANSWER);
		assert_int_equal(rcode, DNS_FORMERR);
		assert_int_equal(q.id, 0x1234);
		assert_int_equal(q.question_len, p.len < question ? 0 : question - DNS_HEADER_SIZE);
	}
	put8(&p, 0); /* more than was counted */
	assert_answered(&p, DNS_FORMERR);
	begin(&p, DNS_RD, 0);
	put_opt(&p, 1232, 0, "", 0);
	assert_answered(&p, DNS_FORMERR);
	/* Owners are names as well: one that points at itself. */
	begin(&p, DNS_RD, 1);
	put_a(&p, "@34", 60, 1);
	assert_answered(&p, DNS_FORMERR);
	begin(&p, DNS_RD, 65535);
	put_opt(&p, 1232, 0, "", 0);
	assert_answered(&p, DNS_FORMERR);
}

static void one_question_exactly(void **state)
{
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	/* RFC 9619; the OPT behind them is seen all the same. */
	put_header(&p, 9, DNS_RD, COUNTS(2, 0, 0, 1));
	put_question(&p, "a.test", 1, 1);
	put_question(&p, "@12", 28, 1);
	put_opt(&p, 1232, 0, "", 0);
	assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_ANSWER);
	assert_int_equal(rcode, DNS_FORMERR);
	assert_int_equal(q.question_len, 0);
	assert_true(q.has_opt);

	put_header(&p, 9, DNS_RD, COUNTS(0, 0, 0, 1));
	put_opt(&p, 1232, 0, "\0\12\0\10abcdefgh", 12);
	assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_ANSWER);
	assert_int_equal(rcode, DNS_FORMERR);
	assert_true(q.has_opt);

	put_header(&p, 9, DNS_RD, COUNTS(0, 0, 0, 0));
	assert_answered(&p, DNS_FORMERR);
	put_header(&p, 9, DNS_RD, COUNTS(65535, 65535, 65535, 65535));
	put_question(&p, "a.test", 1, 1);
	assert_answered(&p, DNS_FORMERR);
}

static void question_names_are_strict(void **state)
{
	static const char type_class[] = "\0\1\0\1";
	static const struct {
		const char *bytes;
		size_t size;
	} wrong[] = {{"\xc0\x0c", 2}, {"\1a\xc0\x0c", 4}, {"\xc0\0", 2},
		{"\x41"
		 "a",
			3},
		{"\x80", 2}, {"\xff\xff", 2}};
	struct packet p;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct dns_query q;
		enum dns_rcode rcode;

		put_header(&p, 9, DNS_RD, COUNTS(1, 0, 0, 0));
		put_bytes(&p, wrong[i].bytes, wrong[i].size);
		put_bytes(&p, type_class, 4);
		assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_ANSWER);
		assert_int_equal(rcode, DNS_FORMERR);
		assert_int_equal(q.question_len, 0);
	}
}

static void opt_is_strict(void **state)
{
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	begin(&p, DNS_RD, 2);
	put_opt(&p, 1400, 0, "", 0);
	put_opt(&p, 600, 0x8000, "", 0);
	assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_ANSWER);
	assert_int_equal(rcode, DNS_FORMERR);
	assert_true(q.has_opt);
	assert_int_equal(q.udp_size, 1400);
	assert_int_equal(q.question_len, 22);

	begin(&p, DNS_RD, 1);
	put_record(&p, "x", DNS_OPT, 0, 0);
	assert_answered(&p, DNS_FORMERR);
	begin(&p, DNS_RD, 1);
	put_record(&p, "@12", DNS_OPT, 0, 0);
	assert_answered(&p, DNS_FORMERR);

	put_header(&p, 9, DNS_RD, COUNTS(1, 1, 0, 0));
	put_question(&p, "a.test", 1, 1);
	put_opt(&p, 1232, 0, "", 0);
	assert_answered(&p, DNS_FORMERR);

	/* Options that do not fill the data. */
	begin(&p, DNS_RD, 1);
	put_opt(&p, 1232, 0, "\0\12\0\3ab", 6);
	assert_answered(&p, DNS_FORMERR);
	begin(&p, DNS_RD, 1);
	put_opt(&p, 1232, 0, "\0\12\0", 3);
	assert_answered(&p, DNS_FORMERR);
}

static void other_edns_versions(void **state)
{
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	begin(&p, DNS_RD, 1);
	put_opt(&p, 1232, 1 << 16 | 0x8000, "?", 1);
	assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_ANSWER);
	assert_int_equal(rcode, DNS_BADVERS);
	assert_int_equal(q.opt_version, 1);
	assert_true(q.dnssec_ok);
	begin(&p, DNS_RD, 1);
	put_opt(&p, 1232, 0xff0000, "", 0);
	assert_answered(&p, DNS_BADVERS);
}

static void other_opcodes(void **state)
{
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	for (unsigned opcode = 1; opcode < 16; opcode++) {
		begin(&p, opcode << 11 | DNS_RD, 1);
		put_opt(&p, 1232, 0, "", 0);
		assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_ANSWER);
		assert_int_equal(rcode, DNS_NOTIMP);
		assert_true(q.has_opt);
		assert_int_equal(q.question_len, 22);

		put_header(
			&p, 1, opcode << 11, COUNTS(0, 0, 0, 0)); /* DSO looks so (RFC 8490 5.4) */
		put_bytes(&p, "\0\1\0\4....", 8);
		assert_answered(&p, DNS_NOTIMP);
	}
}

static void classes_and_types(void **state)
{
	static const struct {
		unsigned type, class;
		int rcode; /* -1: a query */
	} cases[] = {
		{DNS_TXT, 3, DNS_REFUSED},
		{DNS_A, 255, DNS_REFUSED},
		{DNS_A, 254, DNS_REFUSED},
		{DNS_A, 0, DNS_REFUSED},
		{0, 1, DNS_FORMERR},
		{DNS_OPT, 1, DNS_FORMERR},
		{250, 1, DNS_FORMERR},
		{249, 1, DNS_NOTIMP},
		{253, 1, DNS_NOTIMP},
		{254, 1, DNS_NOTIMP},
		{251, 1, DNS_REFUSED},
		{252, 1, DNS_REFUSED},
		{DNS_ANY, 1, -1},
		{DNS_HTTPS, 1, -1},
		{65280, 1, -1},
		{65535, 1, -1},
	};
	struct packet p;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_query q;
		enum dns_rcode rcode;
		enum dns_parse verdict;

		put_header(&p, 1, DNS_RD, COUNTS(1, 0, 0, 0));
		put_question(&p, "version.bind", cases[i].type, cases[i].class);
		verdict = parse(&p, &q, &rcode);
		assert_int_equal(verdict, cases[i].rcode < 0 ? DNS_PARSE_QUERY : DNS_PARSE_ANSWER);
		assert_int_equal(rcode, cases[i].rcode < 0 ? DNS_NOERROR : cases[i].rcode);
		assert_int_equal(q.question_len, 18);
		assert_int_equal(q.type, cases[i].type);
	}
}

/* The longest name, and the root. */
static void extreme_names(void **state)
{
	char text[300];
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	(void)state;
	memset(text, 'M', sizeof text);
	text[63] = text[127] = text[191] = '.';
	text[192 + 61] = 0;
	put_header(&p, 1, DNS_RD, COUNTS(1, 0, 0, 0));
	put_question(&p, text, 1, 1);
	assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_QUERY);
	assert_int_equal(q.question_len, DNS_NAME_MAX + 4);
	assert_int_equal(q.name.len, DNS_NAME_MAX);
	assert_int_equal(q.name.b[100], 'm');

	put_header(&p, 1, DNS_RD, COUNTS(1, 0, 0, 0));
	put_question(&p, "", DNS_NS, 1);
	assert_int_equal(parse(&p, &q, &rcode), DNS_PARSE_QUERY);
	assert_int_equal(q.question_len, 5);
	assert_int_equal(q.name.labels, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_a_query),
		cmocka_unit_test(reads_opt),
		cmocka_unit_test(steps_over_records),
		cmocka_unit_test(ignores_responses_and_scraps),
		cmocka_unit_test(cut_anywhere_is_formerr),
		cmocka_unit_test(one_question_exactly),
		cmocka_unit_test(question_names_are_strict),
		cmocka_unit_test(opt_is_strict),
		cmocka_unit_test(other_edns_versions),
		cmocka_unit_test(other_opcodes),
		cmocka_unit_test(classes_and_types),
		cmocka_unit_test(extreme_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
