"""
The Lua that Envoy runs: which model a request is for, and which cluster that is.

Three scripts, in the order in which a request meets them:

- `FROM_HEADERS` labels a request by its metadata. Without metadata it refuses at
  once a request whose message cannot be read for a label: a stream (its first
  message may wait for an answer) and a compressed message. A labelled request
  whose model has no server is marked as not to be collected; one that is to be
  collected gets a room (room.py), and is marked if that is not the largest.
- `FROM_MESSAGE` runs behind the buffer filter, so that `body()` never waits and
  never sees more than one whole message. It reads field 1 if that comes first.
- `ROUTE` is the cluster specifier: `model/<id>` if Envoy knows it, else the
  activator, whatever the id looks like.

A label is always a well-formed model name. No other id can have a cluster: a
request with one goes unlabelled to the activator, which parses properly and
explains the refusal. The scripts run for the four model methods only.
"""

from __future__ import annotations

from typing import Final

from orchestrator.mesh.room import Rooms

#: Metadata by which a request names its model.
MODEL_HEADER: Final = "mm-vmodel-id"
#: Prefix of our own headers; a client's headers with this prefix are removed.
OUR_HEADERS: Final = "x-wml-"
#: Says that the request's cluster has no server; set by a filter before the scripts.
COLD_HEADER: Final = OUR_HEADERS + "cold"
#: Says that the request's message is not to be collected; chooses its route.
UNREAD_HEADER: Final = OUR_HEADERS + "unread"
#: Number of the room that the request's message gets, if it is not the first one; chooses its route.
ROOM_HEADER: Final = OUR_HEADERS + "room"

NO_MODEL_IN_STREAM: Final = (
    "ModelStreamInfer needs the model's name in metadata mm-vmodel-id: a stream is routed before its first message"
)
COMPRESSED: Final = (
    "a compressed message cannot be routed by its content:"
    " send the model's name in metadata mm-vmodel-id, or do not compress"
)

_COMMON: Final = r"""
-- RFC 1123 subdomain, the only shape that a model's name can have.
local function is_name(id)
  return #id >= 1 and #id <= 253 and id:find("^[a-z0-9][a-z0-9.-]*$") ~= nil
end

local function labelled(headers)
  local id = headers:get("mm-vmodel-id")
  return id ~= nil and id ~= ""
end

local function refuse(handle, text)
  handle:respond({[":status"] = "400", ["grpc-status"] = "3"}, text)
end
"""

_FROM_HEADERS: Final = (
    _COMMON
    + r"""
-- Smaller messages are not counted once they are here: there are too many of them, and they weigh too little.
local SMALL = 65536
local SHARE = @SHARE@
local ROOMS = {@ROOMS@}
-- What requests have of the share, by their coroutines: an entry goes with its request, whatever the end of that, but
-- not before garbage is collected. Until then `taken` is too much.
local sizes = setmetatable({}, {__mode = "k"})
local taken, counted_at = 0, 0

-- The number of the room that a message gets. Where it would not be the first what is taken is counted anew, at most
-- every 20 ms: it takes some of them.
local function room(handle)
  if SHARE - taken < ROOMS[1].free then
    local now = handle:timestamp()
    if now - counted_at >= 20 then
      collectgarbage()
      taken, counted_at = 0, now
      for _, size in pairs(sizes) do taken = taken + size end
    end
  end
  for number = 1, #ROOMS do
    if SHARE - taken >= ROOMS[number].free then return number end
  end
  return #ROOMS
end

local function collect(handle)
  local own, number = coroutine.running(), room(handle)
  if number > 1 then handle:headers():replace("@ROOM@", tostring(number)) end
  local size = ROOMS[number].size
  sizes[own], taken = size, taken + size
  local come = 0
  for chunk in handle:bodyChunks() do come = come + chunk:length() end
  if come > SMALL then
    sizes[own], taken = come, taken - size + come
  else
    sizes[own], taken = nil, taken - size
  end
end

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local VALUE = {}
for i = 1, #ALPHABET do VALUE[ALPHABET:byte(i)] = i - 1 end

-- nil if it is not base64; padding is optional in gRPC metadata.
local function decode(text)
  if #text > 512 then return nil end
  text = text:gsub("=?=$", "")
  if #text % 4 == 1 then return nil end
  local out, acc, bits = {}, 0, 0
  for i = 1, #text do
    local v = VALUE[text:byte(i)]
    if v == nil then return nil end
    acc, bits = acc * 64 + v, bits + 6
    if bits >= 8 then
      bits = bits - 8
      local unit = 2 ^ bits
      local byte = math.floor(acc / unit)
      out[#out + 1] = string.char(byte)
      acc = acc - byte * unit
    end
  end
  return table.concat(out)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if labelled(headers) then
    -- A changed header has the route chosen anew.
    if headers:get("@COLD@") == "1" then headers:replace("@UNREAD@", "1") end
    return
  end
  local bin = headers:get("mm-vmodel-id-bin")
  if bin ~= nil and bin ~= "" then
    local id = decode(bin)
    if id ~= nil and is_name(id) then headers:replace("mm-vmodel-id", id) end
    return collect(handle)
  end
  if headers:get(":path"):find("/ModelStreamInfer", 1, true) then
    return refuse(handle, "@STREAM@")
  end
  local encoding = headers:get("grpc-encoding")
  if encoding ~= nil and encoding ~= "identity" then
    return refuse(handle, "@COMPRESSED@")
  end
  collect(handle)
end
""".replace("@STREAM@", NO_MODEL_IN_STREAM)
    .replace("@COMPRESSED@", COMPRESSED)
    .replace("@COLD@", COLD_HEADER)
    .replace("@UNREAD@", UNREAD_HEADER)
    .replace("@ROOM@", ROOM_HEADER)
)


def from_headers(rooms: Rooms) -> str:
    """The script `FROM_HEADERS` for these rooms."""
    table = ", ".join(f"{{size = {room.size}, free = {room.free}}}" for room in rooms.rooms)
    return _FROM_HEADERS.replace("@SHARE@", str(rooms.share)).replace("@ROOMS@", table)


FROM_MESSAGE: Final = (
    _COMMON
    + r"""
-- Compression flag, length, tag of field 1, up to two bytes of its length.
local HEAD = 8

function envoy_on_request(handle)
  local headers = handle:headers()
  local bin = headers:get("mm-vmodel-id-bin")
  if labelled(headers) or (bin ~= nil and bin ~= "") then return end
  local body = handle:body()
  if body == nil then return end
  local size = body:length()
  if size < HEAD then return end
  local head = body:getBytes(0, HEAD)
  if head:byte(1) ~= 0 then
    return refuse(handle, "@COMPRESSED@")
  end
  if head:byte(6) ~= 10 then return end
  local message = ((head:byte(2) * 256 + head:byte(3)) * 256 + head:byte(4)) * 256 + head:byte(5)
  local length, start = head:byte(7), 7
  if length >= 128 then
    if head:byte(8) >= 128 then return end
    length, start = length - 128 + head:byte(8) * 128, 8
  end
  local stop = start + length
  if length < 1 or length > 253 or stop > size or stop - 5 > message then return end
  local id = body:getBytes(start, length)
  -- body() may have moved the headers.
  if is_name(id) then handle:headers():replace("mm-vmodel-id", id) end
end
""".replace("@COMPRESSED@", COMPRESSED)
)

ROUTE: Final = r"""
function envoy_on_route(handle)
  local id = handle:headers():get("mm-vmodel-id")
  if id == nil or id == "" then return "activator" end
  local cluster = "model/" .. id
  if handle:getCluster(cluster) == nil then return "activator" end
  return cluster
end
"""
