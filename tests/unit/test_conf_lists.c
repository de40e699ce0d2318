/* Files of lists: in one word, as maps, both mixed, and what is said about wrong ones. */
#include "tests/unit/conf_messages.h"

#include <stdio.h>

#include "conf/list_path.h"
#include "gateway/lists/lists.h"

/* The list l is in line 4, and used. */
#define LIST(files)                                                                                \
	"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {upstream: u}\n"                     \
	"fakeip: {pool6: off, except: l}\nlists: {l: " files "}\n"

static void format_words_are_those_of_the_lists(void **state)
{
	static const char *const words[] = {"auto", "plain", "v2fly", "geosite", "geoip", "dnsmasq",
		"hosts", "adblock", "gfwlist", "clash", "mrs", "srs", "singbox", "smartdns", "rpz",
		"cidr", "compiled"};

	(void)state;
	_Static_assert(sizeof words / sizeof words[0] == LIST_FORMATS, "one word for each");
	for (int i = 0; i < LIST_FORMATS; i++)
		assert_int_equal(conf_list_format_parse(words[i]), i);
	assert_int_equal(conf_list_format_parse("auto"), LIST_AUTO);
	assert_int_equal(conf_list_format_parse("v2fly"), LIST_V2FLY);
	assert_int_equal(conf_list_format_parse("geosite"), LIST_GEOSITE);
	assert_int_equal(conf_list_format_parse("geoip"), LIST_GEOIP);
	assert_int_equal(conf_list_format_parse("singbox"), LIST_SINGBOX);
	assert_int_equal(conf_list_format_parse("compiled"), LIST_COMPILED);
	assert_int_equal(conf_list_format_parse("geo"), -EINVAL);
	assert_int_equal(conf_list_format_parse(""), -EINVAL);
	assert_int_equal(conf_list_format_parse("auto plain"), -EINVAL);
}

static void split(const char *text, int format, const char *path, const char *tag, const char *attr)
{
	struct conf_list_path got;
	const char *why = NULL;

	assert_int_equal(conf_list_path_split(text, format, &got, &why), 0);
	assert_string_equal(got.path, path);
	assert_string_equal(got.tag, tag);
	assert_string_equal(got.attribute, attr);
}

static void one_word_is_split(void **state)
{
	(void)state;
	split("a.txt", LIST_AUTO, "a.txt", "", "");
	split("dlc.dat", LIST_AUTO, "dlc.dat", "", "");
	split("dlc.dat:cn", LIST_AUTO, "dlc.dat", "cn", "");
	split("/x/DLC.Dat:geolocation-!cn@ads", LIST_AUTO, "/x/DLC.Dat", "geolocation-!cn", "ads");
	split("dlc.dat:cn@!cn", LIST_AUTO, "dlc.dat", "cn", "!cn");
	split("dlc.dat:@ads", LIST_AUTO, "dlc.dat", "", "ads");
	split("a:b.dat:cn", LIST_AUTO, "a:b.dat", "cn", "");
	split("site:cn", LIST_GEOSITE, "site", "cn", "");
	split("a:ip:cn", LIST_GEOIP, "a:ip", "cn", "");
	split("site", LIST_GEOSITE, "site", "", "");
	/* A colon is otherwise a part of the name, and so is '@'. */
	split("a:b.txt", LIST_AUTO, "a:b.txt", "", "");
	split("dat:cn", LIST_AUTO, "dat:cn", "", "");
	split("x.dat.gz:cn", LIST_PLAIN, "x.dat.gz:cn", "", "");
	split("a@b.txt", LIST_AUTO, "a@b.txt", "", "");
}

static void what_is_no_tag_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {{"x.dat:", "the tag is empty"}, {"x.dat:@", "no attribute follows '@'"},
		{"x.dat:cn@", "no attribute follows '@'"}, {"", "the path is empty"},
		{"x.dat:a b", "the tag has a character that no tag has"},
		{"x.dat:a@b@c", "the tag has a character that no tag has"},
		{"x.dat:a/b", "the tag has a character that no tag has"}};
	char text[CONF_LIST_PATH_MAX + 400];
	struct conf_list_path got;
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		why = NULL;
		assert_int_equal(
			conf_list_path_split(cases[i].text, LIST_AUTO, &got, &why), -EINVAL);
		assert_string_equal(why, cases[i].why);
	}
	memset(text, 'a', sizeof text);
	text[CONF_LIST_PATH_MAX] = 0;
	assert_int_equal(conf_list_path_split(text, LIST_AUTO, &got, &why), 0);
	text[CONF_LIST_PATH_MAX] = 'a';
	text[CONF_LIST_PATH_MAX + 1] = 0;
	assert_int_equal(conf_list_path_split(text, LIST_AUTO, &got, &why), -EINVAL);
	memcpy(text, "x.dat:", 6);
	text[6 + CONF_LIST_TAG_MAX] = 0;
	assert_int_equal(conf_list_path_split(text, LIST_AUTO, &got, &why), 0);
	assert_int_equal(strlen(got.tag), CONF_LIST_TAG_MAX);
	text[6 + CONF_LIST_TAG_MAX] = 'a';
	text[7 + CONF_LIST_TAG_MAX] = 0;
	assert_int_equal(conf_list_path_split(text, LIST_AUTO, &got, &why), -EINVAL);
	assert_string_equal(why, "the tag is longer than 255 bytes");
}

static void words_and_maps_mix(void **state)
{
	static const struct {
		const char *path, *tag, *attribute;
		int format;
		bool optional;
		unsigned column;
	} want[] = {{"/etc/a.txt", NULL, NULL, LIST_AUTO, false, 13},
		{"/etc/dlc.dat", "cn", NULL, LIST_AUTO, false, 20},
		{"/etc/dlc.dat", "cn", "ads", LIST_AUTO, false, 46},
		{"/etc/v", NULL, "!cn", LIST_V2FLY, true, 64},
		{"/etc/b:c", "d", NULL, LIST_GEOSITE, false, 117}};
	static const char text[] =
		LIST("[a.txt, {path: dlc.dat, tag: cn}, 'dlc.dat:cn@ads', {path: v, tag: '@!cn', "
		     "format: v2fly, optional: on}, {path: 'b:c:d', format: geosite}]");
	struct messages m;
	struct config *c = parse_len("/etc/t.yaml", text, sizeof text - 1, &m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->lists[0].n_files, 5);
	for (size_t i = 0; i < 5; i++) {
		const struct conf_list_file *f = &c->lists[0].files[i];

		assert_string_equal(f->path, want[i].path);
		assert_int_equal(!f->tag, !want[i].tag);
		if (f->tag)
			assert_string_equal(f->tag, want[i].tag);
		assert_int_equal(!f->attribute, !want[i].attribute);
		if (f->attribute)
			assert_string_equal(f->attribute, want[i].attribute);
		assert_int_equal(f->format, want[i].format);
		assert_int_equal(f->optional, want[i].optional);
		assert_int_equal(f->line, 4);
		assert_int_equal(f->column, want[i].column);
	}
	conf_free(c);
}

static void one_map_is_a_list_of_one(void **state)
{
	struct messages m;
	struct config *c = parse(LIST("{format: hosts, path: /h}"), &m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->lists[0].n_files, 1);
	assert_string_equal(c->lists[0].files[0].path, "/h");
	assert_int_equal(c->lists[0].files[0].format, LIST_HOSTS);
	conf_free(c);
}

#define FILES "; allowed: a path, PATH:TAG, {path, format, tag, optional}\n"
#define FORMATS                                                                                    \
	"; allowed: auto, plain, v2fly, geosite, geoip, dnsmasq, hosts, adblock, gfwlist, clash, " \
	"mrs, srs, singbox, smartdns, rpz, cidr, compiled\n"
#define TAGS "; allowed: PATH:TAG, {path: PATH, tag: TAG}\n"

static void wrong_files(void **state)
{
	static const struct wrong cases[] = {
		{LIST(""), "4:12: lists.l: is empty" FILES},
		{LIST("[]"), "4:12: lists.l: is empty" FILES},
		{LIST("{}"), "4:12: lists.l.path: is missing; allowed: a path, PATH:TAG\n"},
		{LIST("[a, '', ~, [b], {path: [c]}, {path: ''}]"),
			"4:16: lists.l[1]: is empty" FILES "4:20: lists.l[2]: is nothing" FILES
			"4:23: lists.l[3]: is a list" FILES "4:35: lists.l[4].path: is a list; "
			"allowed: a path, PATH:TAG\n"
			"4:48: lists.l[5].path: is empty; allowed: a path, PATH:TAG\n"},
		{LIST("[{path: a, format: text, optional: perhaps, url: x}, {tag: cn}]"),
			"4:31: lists.l[0].format: 'text' is unknown" FORMATS
			"4:47: lists.l[0].optional: 'perhaps' is neither yes nor no; allowed: yes, "
			"no, true, false, on, off\n"
			"4:56: lists.l[0].url: unknown key; allowed: tag, path, format, optional\n"
			"4:65: lists.l[1].path: is missing; allowed: a path, PATH:TAG\n"},
		{LIST("['x.dat:', {path: 'x.dat:a', tag: b}, {path: y, tag: '@'}]"),
			"4:13: lists.l[0]: the tag is empty" FILES
			"4:46: lists.l[1].tag: is there beside the tag in path; allowed: TAG, "
			"TAG@ATTRIBUTE, @ATTRIBUTE\n"
			"4:65: lists.l[2].tag: no attribute follows '@'; allowed: TAG, "
			"TAG@ATTRIBUTE, @ATTRIBUTE\n"},
		/* A tag belongs to the formats that have some. */
		{LIST("[{path: a, format: geosite}, {path: b, format: geoip, tag: '@x'}]"),
			"4:13: lists.l[0]: a file of this format is read by one of its tags" TAGS
			"4:71: lists.l[1].tag: a file of this format is read by one of its "
			"tags; allowed: no tag\n"},
		{LIST("[{path: a, format: plain, tag: x}, {path: a.dat:x, format: cidr}, {path: "
		      "b, format: v2fly, tag: x}, {path: c, format: geoip, tag: x@y}]"),
			"4:43: lists.l[0].tag: a file of this format has no tags; allowed: no tag\n"
			"4:47: lists.l[1]: a file of this format has no tags; allowed: no tag\n"
			"4:108: lists.l[2].tag: a file of this format has no tags; allowed: no "
			"tag\n"
			"4:142: lists.l[3].tag: a file of this format has no attributes; allowed: "
			"no tag\n"},
	};

	(void)state;
	CHECK(cases);
}

static void unused_lists_are_noted(void **state)
{
	static const struct wrong cases[] = {
		{"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {}\n"
		 "egress: {d: {type: direct, upstream: u}, e: {type: direct, upstream: u}}\n"
		 "fakeip: {pool6: off, except: {lists: a}}\n"
		 "lists: {a: a, b: b, c: c, d: d, e: e, f: f}\nrules:\n"
		 "- {name: r, list: b, except: c, to: d, answer: fake, egress: d, unless: "
		 "{resolves_in: e, egress: e}}\n",
			"5:42: note: lists.f: neither a rule, a group in upstreams nor "
			"fakeip.except names this list\n"
			"7:73: note: rules[0].unless: every name of the rule is asked at 'u'\n"},
	};

	(void)state;
	CHECK(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(format_words_are_those_of_the_lists),
		cmocka_unit_test(one_word_is_split),
		cmocka_unit_test(what_is_no_tag_is_refused),
		cmocka_unit_test(words_and_maps_mix),
		cmocka_unit_test(one_map_is_a_list_of_one),
		cmocka_unit_test(wrong_files),
		cmocka_unit_test(unused_lists_are_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
