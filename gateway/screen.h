/* Printing what the daemon told. Texts come from lists and packets, so what could steer a terminal
 * is replaced before it is shown. */
#ifndef TUNGATE_SCREEN_H
#define TUNGATE_SCREEN_H

#include <stddef.h>
#include <stdint.h>

struct json_object;

struct json_object *screen_get(struct json_object *object, const char *key); /* NULL: none */
size_t screen_count(struct json_object *array); /* 0 for what is no array */
/* Never NULL, "-" for null; valid as long as the object. */
const char *screen_value(struct json_object *value);
const char *screen_text(struct json_object *object, const char *key);
int64_t screen_number(struct json_object *object, const char *key); /* 0: none */
/* "3d 4h", "12m 5s"; in buf[32], returns buf. */
const char *screen_duration(int64_t seconds, char *buf);
/* The value as one line of JSON, end behind it. */
void screen_json(struct json_object *value, const char *end);
/* A mapping: one line of the table; then as lines of their own. */
void screen_mapping_head(void);
void screen_mapping_row(struct json_object *mapping);

#endif
