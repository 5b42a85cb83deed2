"""An independent client, hvac, does with the Vault of the tests what Vault's API reference says, and ends with 0 if all of it is so."""

import base64
import sys

import hvac
from hvac import exceptions

url, token = sys.argv[1:]
client = hvac.Client(url=url, token=token)
kv1, kv2 = client.secrets.kv.v1, client.secrets.kv.v2


def raises(what, call):
    try:
        call()
    except what as error:
        return error
    raise AssertionError(f"{what} was not raised")


# KV 2: versions, reads of each, of what was deleted, undeleted, destroyed.
assert kv2.create_or_update_secret("app", {"a": "1"})["data"]["version"] == 1
assert kv2.create_or_update_secret("app", {"a": "2", "b": "ü"})["data"]["version"] == 2
latest = kv2.read_secret_version("app", raise_on_deleted_version=True)
assert latest["data"]["data"] == {"a": "2", "b": "ü"} and latest["data"]["metadata"]["version"] == 2
assert latest["lease_duration"] == 0 and latest["data"]["metadata"]["destroyed"] is False
assert kv2.read_secret_version("app", version=1, raise_on_deleted_version=True)["data"]["data"] == {"a": "1"}
raises(exceptions.InvalidPath, lambda: kv2.read_secret_version("app", version=3, raise_on_deleted_version=True))
raises(exceptions.InvalidPath, lambda: kv2.read_secret_version("never", raise_on_deleted_version=True))
raises(exceptions.InvalidRequest, lambda: kv2.create_or_update_secret("app", {"a": "3"}, cas=1))
assert kv2.create_or_update_secret("app", {"a": "3"}, cas=2)["data"]["version"] == 3
kv2.delete_latest_version_of_secret("app")
error = raises(exceptions.InvalidPath, lambda: kv2.read_secret_version("app", raise_on_deleted_version=True))
assert error.json["data"]["data"] is None and error.json["data"]["metadata"]["deletion_time"] != ""
# hvac gives what Vault answers with the 404 of a deleted version.
assert kv2.read_secret_version("app", raise_on_deleted_version=False)["data"]["metadata"]["version"] == 3
kv2.undelete_secret_versions("app", [3])
assert kv2.read_secret_version("app", raise_on_deleted_version=True)["data"]["data"] == {"a": "3"}
kv2.delete_secret_versions("app", [2])
raises(exceptions.InvalidPath, lambda: kv2.read_secret_version("app", version=2, raise_on_deleted_version=True))
kv2.destroy_secret_versions("app", [1])
error = raises(exceptions.InvalidPath, lambda: kv2.read_secret_version("app", version=1, raise_on_deleted_version=True))
assert error.json["data"]["metadata"]["destroyed"] is True
metadata = kv2.read_secret_metadata("app")["data"]
assert metadata["current_version"] == 3 and metadata["versions"]["1"]["destroyed"] is True
kv2.create_or_update_secret("team/b", {"x": "y"})
assert kv2.list_secrets("")["data"]["keys"] == ["app", "team/"]
kv2.delete_metadata_and_all_versions("app")
raises(exceptions.InvalidPath, lambda: kv2.read_secret_version("app", raise_on_deleted_version=True))

# KV 1: no versions; a field `ttl` is the advised lease.
kv1.create_or_update_secret("app", {"a": "1", "ttl": "30s"}, mount_point="kv")
read = kv1.read_secret("app", mount_point="kv")
assert read["data"] == {"a": "1", "ttl": "30s"} and read["lease_duration"] == 30
for ttl, lease in (("1h", 3600), (90, 90), ("90", 90), ("soon", 2764800)):
    kv1.create_or_update_secret("app", {"a": "1", "ttl": ttl}, mount_point="kv")
    assert kv1.read_secret("app", mount_point="kv")["lease_duration"] == lease
kv1.create_or_update_secret("app", {"a": "2"}, mount_point="kv")
assert kv1.read_secret("app", mount_point="kv")["lease_duration"] == 2764800
assert kv1.list_secrets("", mount_point="kv")["data"]["keys"] == ["app"]
kv1.delete_secret("app", mount_point="kv")
raises(exceptions.InvalidPath, lambda: kv1.read_secret("app", mount_point="kv"))

# Who may not, and what is not there.
stranger = hvac.Client(url=url, token="hvs.stranger-0123456789")
raises(exceptions.Forbidden, lambda: stranger.secrets.kv.v2.read_secret_version("team/b", raise_on_deleted_version=True))
raises(exceptions.InvalidPath, lambda: kv1.read_secret("app", mount_point="nowhere"))

# Transit: keys with versions, associated data, a key that is not there.
transit = client.secrets.transit


def b64(text):
    return base64.b64encode(text.encode()).decode()


def message(error):
    return " ".join(error.errors)


transit.create_key("codec")
key = transit.read_key("codec")["data"]
assert key["type"] == "aes256-gcm96" and key["latest_version"] == 1 and key["derived"] is False
first = transit.encrypt_data("codec", plaintext=b64("dek"), associated_data=b64("shop"))["data"]
assert first["ciphertext"].startswith("vault:v1:") and first["key_version"] == 1
again = transit.encrypt_data("codec", plaintext=b64("dek"), associated_data=b64("shop"))["data"]
assert again["ciphertext"] != first["ciphertext"]


def decrypted(ciphertext, data="shop", name="codec", **more):
    return transit.decrypt_data(name, ciphertext=ciphertext, associated_data=b64(data), **more)["data"]["plaintext"]


assert decrypted(first["ciphertext"]) == b64("dek")
error = raises(exceptions.InvalidRequest, lambda: decrypted(first["ciphertext"], data="other"))
assert message(error) == "cipher: message authentication failed"
raises(exceptions.InvalidRequest, lambda: transit.decrypt_data("codec", ciphertext=first["ciphertext"]))
for altered in ("x" + first["ciphertext"], "vault:v1:!", "vault:vx:AAAA", "vault:v1", "vault:v1:AAAA"):
    error = raises(exceptions.InvalidRequest, lambda: decrypted(altered))
    assert "invalid ciphertext" in message(error), message(error)
error = raises(exceptions.InvalidRequest, lambda: decrypted(first["ciphertext"].replace(":v1:", ":v2:")))
assert message(error) == "invalid ciphertext: version is too new"

# A new version wraps, the old one still opens, until it is retired; that may be taken back.
transit.rotate_key("codec")
second = transit.encrypt_data("codec", plaintext=b64("dek"), associated_data=b64("shop"))["data"]
assert second["ciphertext"].startswith("vault:v2:") and second["key_version"] == 2
assert decrypted(first["ciphertext"]) == decrypted(second["ciphertext"]) == b64("dek")
transit.update_key_configuration("codec", min_decryption_version=2)
assert list(transit.read_key("codec")["data"]["keys"]) == ["2"]
error = raises(exceptions.InvalidRequest, lambda: decrypted(first["ciphertext"]))
assert "too old" in message(error)
transit.update_key_configuration("codec", min_decryption_version=1)
assert decrypted(first["ciphertext"]) == b64("dek")
raises(exceptions.InvalidRequest, lambda: transit.update_key_configuration("codec", min_decryption_version=3))

# A derived key wants a context, and another context is another key.
transit.create_key("derived", derived=True)
error = raises(exceptions.InvalidRequest, lambda: transit.encrypt_data("derived", plaintext=b64("dek")))
assert "context" in message(error)
data = {"plaintext": b64("dek"), "associated_data": b64("shop"), "context": b64("a")}
sealed = transit.encrypt_data("derived", **data)["data"]["ciphertext"]
assert decrypted(sealed, name="derived", context=b64("a")) == b64("dek")
raises(exceptions.InvalidRequest, lambda: decrypted(sealed, name="derived", context=b64("b")))

# What is not there. `encrypt` would make it, and the token may not create.
error = raises(exceptions.InvalidRequest, lambda: decrypted(first["ciphertext"], name="never"))
assert message(error) == "encryption key not found"
raises(exceptions.Forbidden, lambda: transit.encrypt_data("never", plaintext=b64("dek")))
raises(exceptions.InvalidPath, lambda: transit.read_key("never"))
error = raises(exceptions.InvalidRequest, lambda: transit.encrypt_data("codec", plaintext="not base64"))
assert transit.list_keys()["data"]["keys"] == ["codec", "derived"]
raises(exceptions.InvalidRequest, lambda: transit.delete_key("codec"))
transit.update_key_configuration("codec", deletion_allowed=True)
transit.delete_key("codec")
error = raises(exceptions.InvalidRequest, lambda: decrypted(first["ciphertext"]))
assert message(error) == "encryption key not found"
