// Writes each audit record as a line of JSON to one of the operator's outputs.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Made by `codec-plugin build` of the interfaces in wit/: see target/codec-plugin/bindings.
#include "audit_sink_plugin.h"
#include "json.h"

typedef audit_sink_plugin_string_t string_t;
typedef exports_origan_codec_audit_sink_list_entry_t batch_t;
typedef exports_origan_codec_audit_sink_write_error_t failure_t;
typedef exports_origan_codec_settings_list_problem_t problems_t;

// Set by `configure`: which of the operator's outputs to write to. It must be granted to this plugin.
static struct text output = TEXT("stdout");

static void add_problem(problems_t *problems, struct text path, const char *message) {
  problems->ptr = realloc(problems->ptr, (problems->len + 1) * sizeof *problems->ptr);
  exports_origan_codec_settings_problem_t *problem = &problems->ptr[problems->len++];
  audit_sink_plugin_string_dup_n(&problem->path, path.at, path.len);
  audit_sink_plugin_string_dup(&problem->message, message);
}

// Reads the operator's settings, one JSON object. Names every key that is wrong, and every key that is not known: a misspelt setting must
// not be a silent default. True if all is well.
bool exports_origan_codec_settings_configure(string_t *json, problems_t *problems) {
  *problems = (problems_t){NULL, 0};
  struct json_cursor members;
  if (!json_enter_object((struct json){(const char *)json->ptr, json->len}, &members)) {
    add_problem(problems, TEXT(""), "must be an object");
  }
  struct text key;
  struct json value;
  while (problems->len == 0 && json_next_member(&members, &key, &value)) {
    if (!text_is(key, "output")) {
      add_problem(problems, json_pointer(key), "is not a setting of this sink; output is the only one");
    } else if (!json_string(value, &output) || output.len == 0) {
      add_problem(problems, TEXT("/output"), "wants the name of an output");
    }
  }
  return problems->len == 0;
}

static void tell(const char *what) {
  origan_codec_log_list_attribute_t none = {NULL, 0};
  char text[256];
  string_t message;
  snprintf(text, sizeof text, "%.*s: %s", (int)output.len, output.at, what);
  audit_sink_plugin_string_set(&message, text);
  origan_codec_log_emit(ORIGAN_CODEC_LOG_LEVEL_WARN, &message, &none);
}

static void reject(failure_t *failure, uint64_t seq, const char *why) {
  audit_sink_plugin_list_tuple2_u64_string_t *list = &failure->val.rejected;
  list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
  list->ptr[list->len].f0 = seq;
  audit_sink_plugin_string_dup(&list->ptr[list->len++].f1, why);
}

// Writes the batch. A line that the output will never take is left out and reported; the rest still goes, in order. True if it has all.
bool exports_origan_codec_audit_sink_write(batch_t *batch, failure_t *failure) {
  *failure = (failure_t){.tag = EXPORTS_ORIGAN_CODEC_AUDIT_SINK_WRITE_ERROR_REJECTED};
  string_t name = {(uint8_t *)output.at, output.len};
  string_t *lines = calloc(batch->len, sizeof *lines);
  exports_origan_codec_audit_sink_entry_t **left = calloc(batch->len, sizeof *left);
  size_t len = batch->len;
  for (size_t i = 0; i < len; i++) {
    left[i] = &batch->ptr[i];
    lines[i] = left[i]->line;
  }
  while (len > 0) {
    audit_sink_plugin_list_string_t list = {lines, len};
    origan_codec_lines_write_error_t error;
    if (origan_codec_lines_write(&name, &list, &error)) {
      break;
    }
    bool is_too_long = error.tag == ORIGAN_CODEC_LINES_WRITE_ERROR_TOO_LONG;
    bool is_malformed = error.tag == ORIGAN_CODEC_LINES_WRITE_ERROR_MALFORMED;
    uint64_t index = is_too_long ? error.val.too_long : error.val.malformed;
    if (!(is_too_long || is_malformed) || index >= len) {
      // The host sends the same batch again, later.
      tell(error.tag == ORIGAN_CODEC_LINES_WRITE_ERROR_NOT_GRANTED ? "is not granted" : "takes nothing now");
      exports_origan_codec_audit_sink_write_error_free(failure);
      *failure = (failure_t){.tag = EXPORTS_ORIGAN_CODEC_AUDIT_SINK_WRITE_ERROR_RETRY};
      origan_codec_lines_write_error_free(&error);
      break;
    }
    reject(failure, left[index]->seq, is_too_long ? "longer than the output takes" : "holds a line feed or a NUL");
    len--;
    memmove(&lines[index], &lines[index + 1], (len - index) * sizeof *lines);
    memmove(&left[index], &left[index + 1], (len - index) * sizeof *left);
  }
  // This instance is kept: what is not given back, it has for ever.
  free(lines);
  free(left);
  exports_origan_codec_audit_sink_list_entry_free(batch);
  return failure->tag == EXPORTS_ORIGAN_CODEC_AUDIT_SINK_WRITE_ERROR_REJECTED && failure->val.rejected.len == 0;
}
