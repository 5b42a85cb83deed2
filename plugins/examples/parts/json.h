// One JSON object, as `configure` gets its settings: written by the host, so well formed. Walked by a cursor, without recursion: however
// deep it nests, a stack of 32 KiB suffices.
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes of UTF-8 that somebody else owns.
struct text {
  const char *at;
  size_t len;
};

// What stands at one place: `at` and `len` are its JSON.
struct json {
  const char *at;
  size_t len;
};

// Where an object or an array is being read.
struct json_cursor {
  const char *at;
  const char *end;
};

// A text that is written in the source.
#define TEXT(literal) ((struct text){(literal), sizeof(literal) - 1})

bool text_is(struct text text, const char *word);
bool texts_are_same(struct text one, struct text other);

// The members of an object, the items of an array; false if it is none.
bool json_enter_object(struct json value, struct json_cursor *members);
bool json_enter_array(struct json value, struct json_cursor *items);

// The next one; false at the end. `key` is allocated, and the caller's to free.
bool json_next_member(struct json_cursor *members, struct text *key, struct json *value);
bool json_next_item(struct json_cursor *items, struct json *value);

// The text of a string, allocated, and the caller's to free; false if it is none.
bool json_string(struct json value, struct text *text);

// `/` and `key`, escaped as a JSON pointer (RFC 6901). Allocated.
struct text json_pointer(struct text key);

#endif
