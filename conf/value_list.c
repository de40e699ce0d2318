/* Readers of the files of a list: "path:tag@attribute" in one word, or as keys of a map. */
#include "conf/options.h"

#include <errno.h>
#include <string.h>

#include "conf/list_path.h"
#include "gateway/base/container.h"

static int part_store(struct conf_reader *r, const char *text, char **ret)
{
	return text[0] ? conf_text_store(r, text, ret) : 0;
}

static int file_store(
	struct conf_reader *r, const struct conf_list_path *split, struct conf_list_file *file)
{
	const char *path = conf_path_absolute(r, split->path);
	int err;

	if (!path)
		return -ENOMEM;
	if (strlen(path) > CONF_LIST_PATH_MAX)
		return conf_wrong(r, "the path is longer than %d bytes", CONF_LIST_PATH_MAX);
	err = conf_text_store(r, path, &file->path);
	if (!err)
		err = part_store(r, split->tag, &file->tag);
	if (!err)
		err = part_store(r, split->attribute, &file->attribute);
	return err;
}

/* The format was read before, if there is one. */
static int file_read(struct conf_reader *r, const char *text, struct conf_list_file *file)
{
	struct conf_list_path split;

	if (!text[0])
		return conf_wrong(r, "is empty");
	return conf_list_path_split(text, file->format, &split, &r->why)
		       ? -EINVAL
		       : file_store(r, &split, file);
}

static int list_file_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return file_read(r, text, ret);
}

const struct conf_type conf_type_list_file = {"file",
	"a path, PATH:TAG, {path, format, tag, optional}", sizeof(struct conf_list_file), NULL,
	.read = list_file_read};

static int list_path_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return file_read(r, text, container_of(ret, struct conf_list_file, path));
}

const struct conf_type conf_type_list_path = {
	"path", "a path, PATH:TAG", sizeof(char *), NULL, .read = list_path_read};

static int list_tag_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_list_file *file = container_of(ret, struct conf_list_file, tag);
	struct conf_list_path split;
	int err;

	(void)o, (void)node;
	if (file->tag || file->attribute)
		return conf_wrong(r, "is there beside the tag in path");
	if (conf_list_tag_split(text, &split, &r->why))
		return -EINVAL;
	err = part_store(r, split.tag, &file->tag);
	return err ? err : part_store(r, split.attribute, &file->attribute);
}

const struct conf_type conf_type_list_tag = {
	"tag", "TAG, TAG@ATTRIBUTE, @ATTRIBUTE", sizeof(char *), NULL, .read = list_tag_read};
