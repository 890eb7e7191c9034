-- A One API database of 2025, as the importer must expect it; see new_api.sql.
CREATE TABLE "users" (
    "id" {id}, "username" varchar(64) UNIQUE, "password" {text} NOT NULL, "display_name" varchar(20), "role" {int32},
    "status" {int32}, "email" varchar(50), "access_token" char(32), "quota" {int}, "used_quota" {int},
    "request_count" {int}, "group" varchar(32), "aff_code" varchar(32), "inviter_id" {int}
);
CREATE TABLE "tokens" (
    "id" {id}, "user_id" {int}, "key" char(48), "status" {int}, "name" varchar(64), "created_time" {int},
    "accessed_time" {int}, "expired_time" {int}, "remain_quota" {int}, "unlimited_quota" {bool}, "used_quota" {int},
    "models" {text}, "subnet" {text}
);
CREATE TABLE "channels" (
    "id" {id}, "type" {int}, "key" {text}, "status" {int}, "name" varchar(64), "weight" {int}, "created_time" {int},
    "base_url" varchar(255), "other" {text}, "balance" {double}, "models" {text}, "group" varchar(32), "used_quota" {int},
    "model_mapping" varchar(1024), "priority" {int}, "config" {text}, "system_prompt" {text}
);
CREATE TABLE "options" ("key" varchar(191) PRIMARY KEY, "value" {text});
CREATE TABLE "redemptions" ("id" {id}, "user_id" {int}, "key" char(32), "status" {int}, "name" varchar(64), "quota" {int});
CREATE TABLE "logs" ("id" {id}, "user_id" {int}, "created_at" {int}, "type" {int}, "quota" {int});

INSERT INTO "users" ("id", "username", "password", "role", "status", "email", "quota", "used_quota", "group", "aff_code") VALUES
    (1, 'root', '{root_password}', 100, 1, '', 500000000000000, 0, 'default', 'rOOt'),
    (2, 'alice', '{alice_password}', 1, 1, 'alice@example.com', 2147483648, 0, 'vip', 'aaaa'),
    (3, 'deleted_0123456789abcdef0123456789abcdef', '', 1, 3, '', 5, 0, 'default', 'bbbb');
INSERT INTO "tokens" ("id", "user_id", "key", "status", "name", "created_time", "expired_time", "remain_quota", "unlimited_quota", "models", "subnet") VALUES
    (1, 2, '{key1}', 1, 'key', 1760000000, -1, 1000000, {false}, 'old-model', ''),
    (2, 2, '{key2}', 1, 'bound', 1760000000, -1, 0, {true}, '', '10.0.0.0/8');
INSERT INTO "channels" ("id", "type", "key", "status", "name", "weight", "base_url", "models", "group", "model_mapping", "priority", "config") VALUES
    (1, 50, 'sk-upstream', 1, 'compatible', 0, '{provider}/v1', 'old-model', 'default,vip', '{"old-model":"sent-model"}', 0, '');
INSERT INTO "options" ("key", "value") VALUES
    ('ModelRatio', '{"sent-model": 1, "old-model": 100}'), ('CompletionRatio', '{"sent-model": 3}'),
    ('GroupRatio', '{"default": 1, "vip": 0.5}');
