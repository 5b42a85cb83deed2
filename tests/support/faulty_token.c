/* A PKCS#11 module that passes every call on to another one (FAULTY_MODULE), save for the fault that the file FAULTY_FILE names. It
   is built by the tests with `cc -shared -fPIC`. The function list is a version and 68 pointers, in the order of PKCS #11 2.40. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long rv_t;
typedef unsigned long word;

static struct list { unsigned char version[2]; void *function[68]; } ours, *theirs;

enum { GET_TOKEN_INFO = 6, ENCRYPT = 30, DECRYPT_INIT = 33, DECRYPT = 34 };
enum { GENERAL_ERROR = 0x05, DEVICE_ERROR = 0x30, SESSION_HANDLE_INVALID = 0xB3 };

static int fault_is(const char *name) {
    char line[64] = "";
    FILE *file = fopen(getenv("FAULTY_FILE"), "r");
    if (file == NULL) return 0;
    if (fgets(line, sizeof line, file) == NULL) line[0] = 0;
    fclose(file);
    return strcmp(line, name) == 0;
}

/* label 32, manufacturer 32, model 16, serial number 16, then the flags */
static rv_t get_token_info(word slot, unsigned char *info) {
    rv_t rv = ((rv_t (*)(word, void *))theirs->function[GET_TOKEN_INFO])(slot, info);
    word flags;
    memcpy(&flags, info + 96, sizeof flags);
    if (fault_is("final try")) flags |= 0x20000;
    if (fault_is("locked")) flags |= 0x40000;
    memcpy(info + 96, &flags, sizeof flags);
    return rv;
}

static rv_t encrypt(word session, void *in, word in_len, unsigned char *out, word *out_len) {
    rv_t rv = ((rv_t (*)(word, void *, word, void *, word *))theirs->function[ENCRYPT])(session, in, in_len, out, out_len);
    if (fault_is("encrypting fails")) return DEVICE_ERROR;
    if (fault_is("encrypts wrongly") && out != NULL) out[0] ^= 1;
    return rv;
}

static rv_t decrypt_init(word session, void *mechanism, word key) {
    static int lost;
    if (fault_is("every session is lost")) return SESSION_HANDLE_INVALID;
    /* Once: a new session finds it well. */
    if (fault_is("a session is lost") && !lost++) return SESSION_HANDLE_INVALID;
    return ((rv_t (*)(word, void *, word))theirs->function[DECRYPT_INIT])(session, mechanism, key);
}

static rv_t decrypt(word session, void *in, word in_len, unsigned char *out, word *out_len) {
    rv_t rv = ((rv_t (*)(word, void *, word, void *, word *))theirs->function[DECRYPT])(session, in, in_len, out, out_len);
    if (fault_is("nothing opens")) return GENERAL_ERROR;
    if (fault_is("everything opens") && rv == GENERAL_ERROR) return *out_len = 0, 0;
    if (fault_is("opens to something else") && out != NULL) out[0] ^= 1;
    return rv;
}

rv_t C_GetFunctionList(struct list **list) {
    void *module = dlopen(getenv("FAULTY_MODULE"), RTLD_NOW);
    rv_t (*get)(struct list **) = module ? (rv_t (*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
    if (get == NULL || get(&theirs) != 0) return GENERAL_ERROR;
    ours = *theirs;
    ours.function[3] = (void *)C_GetFunctionList;
    ours.function[GET_TOKEN_INFO] = (void *)get_token_info;
    ours.function[ENCRYPT] = (void *)encrypt;
    ours.function[DECRYPT_INIT] = (void *)decrypt_init;
    ours.function[DECRYPT] = (void *)decrypt;
    *list = &ours;
    return 0;
}
