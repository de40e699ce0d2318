/* How a list file is written in one word, in the configuration and on the command line of
 * `tungate compile`: PATH, PATH:TAG, PATH:TAG@ATTRIBUTE or PATH:@ATTRIBUTE. Pure. */
#ifndef TUNGATE_CONF_LIST_PATH_H
#define TUNGATE_CONF_LIST_PATH_H

#include <stdbool.h>

#define CONF_LIST_PATH_MAX 4000 /* bytes, without NUL */
#define CONF_LIST_TAG_MAX  255

/* The words of `format`, in the order of enum list_format of gateway/lists/lists.h. */
#define CONF_LIST_FORMATS                                                                          \
	"auto plain v2fly geosite geoip dnsmasq hosts adblock gfwlist clash mrs srs singbox "      \
	"smartdns rpz cidr compiled"

struct conf_list_path {
	char path[CONF_LIST_PATH_MAX + 1]; /* as written */
	char tag[CONF_LIST_TAG_MAX + 1];   /* "": none */
	char attribute[CONF_LIST_TAG_MAX + 1];
};

/* The number of a format's word, -EINVAL for another word. */
int conf_list_format_parse(const char *word);

/* Splits text at its last ':' if what stands before is a path that ends in ".dat", or if the format
 * is geosite or geoip; else all of it is the path. -EINVAL and *ret_why: no path, too long, or a
 * tag as below. */
int conf_list_path_split(
	const char *text, int format, struct conf_list_path *ret, const char **ret_why);
/* "TAG", "TAG@ATTRIBUTE", "@ATTRIBUTE" into ret->tag and ->attribute; the path stays. Either may be
 * missing, not both. */
int conf_list_tag_split(const char *text, struct conf_list_path *ret, const char **ret_why);

/* May a file of this format be read with this tag and attribute? geosite and geoip need a tag,
 * geosite and v2fly take an attribute, "auto" takes all. -EINVAL and *ret_why. */
int conf_list_tag_check(int format, bool has_tag, bool has_attribute, const char **ret_why);

#endif
