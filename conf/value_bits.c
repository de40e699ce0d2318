/* Readers of single values that are words of a set: bits of a mask, one of two. */
#include "conf/options.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* The place of text among words, -1: none of them. */
static int word_index(const char *words, const char *text)
{
	size_t len = strlen(text);
	int index = 0;

	for (const char *word = words; word; index++) {
		size_t n = strcspn(word, " ");

		if (n == len && memcmp(word, text, n) == 0)
			return index;
		word = word[n] ? word + n + 1 : NULL;
	}
	return -1;
}

/* The same; told if it is none. */
static int word_read(struct conf_reader *r, const char *words, const char *text, int *ret)
{
	*ret = word_index(words, text);
	if (*ret >= 0)
		return 0;
	(void)conf_wrong(r, "%s is unknown", conf_quote(r, text));
	return -EINVAL;
}

static int enum_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	int index, err = word_read(r, o->allowed, text, &index);

	(void)node;
	if (!err)
		*(int *)ret = index;
	return err;
}

const struct conf_type conf_type_enum = {
	"word", NULL, sizeof(int), NULL, .read = enum_read, .words = true};

/* The second of two words is true. */
static int choice_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	int index, err = word_read(r, o->allowed, text, &index);

	(void)node;
	if (!err)
		*(bool *)ret = index == 1;
	return err;
}

const struct conf_type conf_type_choice = {
	"word", NULL, sizeof(bool), NULL, .read = choice_read, .words = true};

/* The first word is bit 0. */
static int bits_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	int index, err = word_read(r, o->allowed, text, &index);

	(void)node;
	if (!err)
		*(unsigned *)ret |= 1U << index;
	return err;
}

const struct conf_type conf_type_bits = {
	"word", NULL, sizeof(unsigned), NULL, .read = bits_read, .words = true};

static int sniff_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	static const char words[] = "tls http quic";
	int index, err;

	(void)o;
	_Static_assert(CONF_SNIFF_TLS == 1 && CONF_SNIFF_HTTP == 2 && CONF_SNIFF_QUIC == 4,
		"in the order of the words");
	if (strcasecmp(text, "off") == 0) {
		const struct conf_node *list = node ? node->parent : NULL;

		if (list && list->kind == CONF_NODE_LIST && list->n > 1)
			return conf_wrong(r, "'off' stands among others");
		return 0;
	}
	err = word_read(r, words, text, &index);
	if (!err)
		*(unsigned *)ret |= 1U << index;
	return err;
}

const struct conf_type conf_type_sniff = {
	"word", "a list of tls, http, quic; or off", sizeof(unsigned), NULL, .read = sniff_read};

/* A boolean for the bits o->max. */
static int builtin_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	unsigned bits = (unsigned)o->max, *mask = ret;
	bool on = false;
	int err = conf_type_bool.read(r, o, node, text, &on);

	if (!err)
		*mask = on ? *mask | bits : *mask & ~bits;
	return err;
}

const struct conf_type conf_type_builtin = {
	"boolean", "yes, no, true, false, on, off", sizeof(unsigned), NULL, .read = builtin_read};
