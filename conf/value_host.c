/* Readers of single values that name something of this host: paths, interfaces, users, groups,
 * control groups. */
#include "conf/options.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <net/if.h>
#include <pwd.h>
#include <string.h>

int conf_text_store(struct conf_reader *r, const char *text, void *ret)
{
	char *copy = arena_strdup(r->arena, text);

	if (!copy)
		return -ENOMEM;
	memcpy(ret, &copy, sizeof copy);
	return 0;
}

void *conf_array_room(struct conf_reader *r, void *v, size_t n, size_t size)
{
	void *more;

	/* There is room up to the next power of two. */
	if (n & (n - 1))
		return v;
	more = arena_array(r->arena, n ? 2 * n : 1, size);
	if (more && n)
		memcpy(more, v, n * size);
	return more;
}

int conf_strings_add(struct conf_reader *r, struct conf_strings *strings, const char *text)
{
	char **v = conf_array_room(r, strings->v, strings->n, sizeof *v);
	char *copy = arena_strdup(r->arena, text);

	if (!v || !copy)
		return -ENOMEM;
	v[strings->n++] = copy;
	strings->v = v;
	return 0;
}

/* Without "./", so that who writes it so means the same file. */
const char *conf_path_absolute(struct conf_reader *r, const char *text)
{
	while (text[0] == '.' && text[1] == '/')
		text += 1 + strspn(text + 1, "/");
	return text[0] == '/' ? text
			      : arena_printf(r->scratch, "%s/%s",
					strcmp(r->folder, "/") ? r->folder : "", text);
}

static int path_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	const char *path = text[0] ? conf_path_absolute(r, text) : text;

	(void)node;
	if (!text[0] && o->min > 0)
		return conf_wrong(r, "is empty");
	if (!path)
		return -ENOMEM;
	if ((int64_t)strlen(path) > o->max)
		return conf_wrong(r, "the path is longer than %d bytes", (int)o->max);
	return conf_text_store(r, path, ret);
}

const struct conf_type conf_type_path = {"path", "a path", sizeof(char *), NULL, .read = path_read};

/* With its line and column right behind it, for who finds out later that it is of no use. */
struct placed {
	char *path;
	unsigned line, column;
};

static int path_placed_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct placed placed = {.line = node ? node->line : 0, .column = node ? node->column : 0};
	int err = path_read(r, o, node, text, &placed.path);

	if (!err)
		memcpy(ret, &placed, sizeof placed);
	return err;
}

const struct conf_type conf_type_path_placed = {
	"path", "a path", sizeof(struct placed), NULL, .read = path_placed_read};

static int text_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	size_t n = strlen(text);

	(void)node;
	if ((int64_t)n < o->min || (int64_t)n > o->max)
		return conf_wrong(
			r, "has %zu characters, not %d to %d", n, (int)o->min, (int)o->max);
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return conf_wrong(r, "contains a control character");
	return conf_text_store(r, text, ret);
}

const struct conf_type conf_type_text = {"text", NULL, sizeof(char *), NULL, .read = text_read};

/* '%' would be a pattern to the kernel. */
bool conf_is_interface(const char *text, size_t len)
{
	if (len == 0 || len >= IFNAMSIZ || strcspn(text, "/:% \t\r\n\v\f*\"\\") < len)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return !(text[0] == '.' && (len == 1 || (len == 2 && text[1] == '.')));
}

static int tun_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	if (!conf_is_interface(text, strlen(text)))
		return conf_wrong(r, "%s is not the name of an interface", conf_quote(r, text));
	return conf_text_store(r, text, ret);
}

const struct conf_type conf_type_tun = {"name",
	"1 to 15 characters without space, '/', ':', '%', '*'", sizeof(char *), NULL,
	.read = tun_read};

static int interface_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	size_t n = strlen(text);

	(void)o, (void)node;
	if (n && text[n - 1] == '*')
		n--;
	if (!conf_is_interface(text, n))
		return conf_wrong(r, "%s is not the name of an interface", conf_quote(r, text));
	return conf_text_store(r, text, ret);
}

const struct conf_type conf_type_interface = {"interface",
	"an interface name of 1 to 15 characters, or its beginning and '*'", sizeof(char *), NULL,
	.read = interface_read};

/* A number as it is; 4294967295 means "no change" to the kernel. */
static int id_number(const char *text, uint32_t *ret)
{
	const char *p = text;
	int64_t value;

	if (conf_digits_read(&p, UINT32_MAX - 1, &value) || *p)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

static int uid_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	const struct passwd *user;

	(void)o, (void)node;
	if (id_number(text, ret) == 0)
		return 0;
	user = getpwnam(text);
	if (!user)
		return conf_wrong(r, "this host has no user %s", conf_quote(r, text));
	*(uint32_t *)ret = user->pw_uid;
	return 0;
}

const struct conf_type conf_type_uid = {
	"user", "a user's name or number", sizeof(uint32_t), NULL, .read = uid_read};

static int gid_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	const struct group *group;

	(void)o, (void)node;
	if (id_number(text, ret) == 0)
		return 0;
	group = getgrnam(text);
	if (!group)
		return conf_wrong(r, "this host has no group %s", conf_quote(r, text));
	*(uint32_t *)ret = group->gr_gid;
	return 0;
}

const struct conf_type conf_type_gid = {
	"group", "a group's name or number", sizeof(uint32_t), NULL, .read = gid_read};

/* Kept as a name, whichever was written. */
static int group_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	uint32_t gid;
	const struct group *group = id_number(text, &gid) ? getgrnam(text) : getgrgid(gid);

	(void)o, (void)node;
	if (!group)
		return conf_wrong(r, "this host has no group %s", conf_quote(r, text));
	return conf_text_store(r, group->gr_name, ret);
}

const struct conf_type conf_type_group = {
	"group", "a group's name or number", sizeof(char *), NULL, .read = group_read};

static int cgroup_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	const char *from = text + strspn(text, "/");
	size_t n = strlen(from);
	char *path;

	(void)o, (void)node;
	while (n && from[n - 1] == '/')
		n--;
	if (n == 0)
		return conf_wrong(r, "%s is the root of all control groups", conf_quote(r, text));
	path = arena_strndup(r->scratch, from, n);
	if (!path)
		return -ENOMEM;
	for (const char *part = path;; part++) {
		size_t len = strcspn(part, "/");

		if (len == 0 || (part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.'))))
			return conf_wrong(r, "%s is not a plain path", conf_quote(r, text));
		part += len;
		if (!*part)
			break;
	}
	if (n >= PATH_MAX)
		return conf_wrong(r, "the path is longer than %d bytes", PATH_MAX - 1);
	return conf_text_store(r, path, ret);
}

const struct conf_type conf_type_cgroup = {
	"path", "a path below the cgroup2 mount", sizeof(char *), NULL, .read = cgroup_read};
