-- A New API database of spring 2026, as the importer must expect it, with faults planted in it. Written for tests from a
-- description of the format. {…} is what each database calls a type; double quotes become backticks for MariaDB.
CREATE TABLE "users" (
    "id" {id}, "username" varchar(20) UNIQUE, "password" {text} NOT NULL, "display_name" varchar(20),
    "role" {int32} DEFAULT 1, "status" {int32} DEFAULT 1, "email" varchar(50), "github_id" varchar(64),
    "access_token" char(32), "quota" {int32} DEFAULT 0, "used_quota" {int32} DEFAULT 0, "request_count" {int32},
    "group" varchar(64) DEFAULT 'default', "aff_code" varchar(32), "aff_quota" {int32} DEFAULT 0,
    "inviter_id" {int}, "setting" {text}, "created_at" {int}, "deleted_at" {time}
);
CREATE INDEX "idx_users_email" ON "users" ("email");
CREATE TABLE "tokens" (
    "id" {id}, "user_id" {int}, "key" char(48), "status" {int} DEFAULT 1, "name" varchar(64), "created_time" {int},
    "accessed_time" {int}, "expired_time" {int} DEFAULT -1, "remain_quota" {int} DEFAULT 0,
    "unlimited_quota" {bool}, "model_limits_enabled" {bool}, "model_limits" {text}, "allow_ips" {text},
    "used_quota" {int} DEFAULT 0, "group" varchar(64) DEFAULT '', "deleted_at" {time}
);
CREATE UNIQUE INDEX "idx_tokens_key" ON "tokens" ("key");
CREATE TABLE "channels" (
    "id" {id}, "type" {int} DEFAULT 0, "key" {text} NOT NULL, "open_ai_organization" {text}, "status" {int} DEFAULT 1,
    "name" varchar(64), "weight" {int} DEFAULT 0, "created_time" {int}, "test_time" {int}, "base_url" varchar(255),
    "other" {text}, "balance" {double}, "models" {text}, "group" varchar(64) DEFAULT 'default', "used_quota" {int},
    "model_mapping" {text}, "priority" {int} DEFAULT 0, "auto_ban" {int} DEFAULT 1, "setting" {text},
    "header_override" {text}, "channel_info" {json}
);
CREATE TABLE "options" ("key" varchar(191) PRIMARY KEY, "value" {text});
CREATE TABLE "redemptions" (
    "id" {id}, "user_id" {int}, "key" char(32), "status" {int} DEFAULT 1, "name" varchar(64), "quota" {int} DEFAULT 100,
    "created_time" {int}, "redeemed_time" {int}, "used_user_id" {int}, "deleted_at" {time}, "expired_time" {int}
);
CREATE TABLE "top_ups" (
    "id" {id}, "user_id" {int}, "amount" {int}, "money" {double}, "trade_no" varchar(255), "payment_method" varchar(50),
    "create_time" {int}, "complete_time" {int}, "status" varchar(50)
);
CREATE TABLE "logs" (
    "id" {id}, "user_id" {int}, "created_at" {int}, "type" {int}, "content" {text}, "username" varchar(64),
    "token_name" varchar(64), "model_name" varchar(64), "quota" {int} DEFAULT 0, "prompt_tokens" {int},
    "completion_tokens" {int}, "channel_id" {int}, "is_stream" {bool}, "other" {text}
);
CREATE TABLE "quota_data" ("id" {id}, "user_id" {int}, "quota" {int});
CREATE TABLE "two_fas" ("id" {id}, "user_id" {int}, "secret" varchar(255));
CREATE TABLE "plugin_of_a_fork" ("id" {id});

INSERT INTO "users" ("id", "username", "password", "role", "status", "email", "quota", "used_quota", "group", "aff_code", "aff_quota", "created_at", "deleted_at") VALUES
    (1, 'root', '{root_password}', 100, 1, NULL, 100000000, 0, 'default', 'rOOt', 0, 0, NULL),
    (2, 'alice', '{alice_password}', 1, 1, ' Alice@Example.com', 12345678, 1000, 'vip', 'aaaa', 250, 1760000000, NULL),
    (3, 'bob', '{alice_password}', 1, 1, 'alice@example.COM', 1, 0, 'default', 'bbbb', 0, 1760000001, NULL),
    (4, 'carol', '{alice_password}', 1, 2, 'carol@example.com', 500000, 0, 'default', 'cccc', 0, 0, NULL),
    (5, 'dave', '{alice_password}', 1, 1, 'dave@example.com', -700, 0, 'default', 'dddd', 0, 0, NULL),
    (6, 'erin', '{alice_password}', 1, 1, 'erin@example.com', 999999, 0, 'default', 'eeee', 0, 0, '2026-01-02 03:04:05'),
    (7, 'frank', '', 1, 1, '', 2147483647, 0, 'default', 'ffff', 0, 0, NULL),
    (8, '张三', '{alice_password}', 1, 1, 'not an address', 0, 0, 'svip', 'gggg', 0, 0, NULL),
    (9, 'admin', '{alice_password}', 10, 1, 'admin@example.com', 3, 0, 'default', 'hhhh', 0, 0, NULL),
    (10, 'grace', '{alice_password}', 1, 1, 'grace@example.com', 20000000, 777, 'default', 'iiii', 0, 0, NULL);

INSERT INTO "tokens" ("id", "user_id", "key", "status", "name", "created_time", "expired_time", "remain_quota", "unlimited_quota", "model_limits_enabled", "model_limits", "allow_ips", "group", "deleted_at") VALUES
    (1, 2, '{key1}', 1, 'limited', 1760000100, -1, 6000000, {false}, {false}, '', '', '', NULL),
    (2, 2, '{key2}', 1, 'unlimited', 1760000100, -1, -12, {true}, {false}, '', NULL, '', NULL),
    (3, 99, '{key3}', 1, 'orphan', 0, -1, 5, {false}, {false}, '', '', '', NULL),
    (4, 6, '{key4}', 1, 'of a deleted user', 0, -1, 5, {false}, {false}, '', '', '', NULL),
    (5, 10, '{key5}', 1, 'above', 0, -1, 50000000, {false}, {false}, '', '', '', NULL),
    (6, 10, '{key6}', 1, 'deleted', 0, -1, 5, {false}, {false}, '', '', '', '2026-01-02 03:04:05'),
    (7, 4, '{key7}', 1, 'of a disabled user', 0, -1, 5, {true}, {false}, '', '', '', NULL),
    (8, 2, '{key8}', 2, 'disabled', 0, -1, 5, {true}, {false}, '', '', '', NULL),
    (9, 2, '{key9}', 4, 'used up', 0, -1, -5, {false}, {false}, '', '', '', NULL),
    (10, 10, '{key10}', 1, 'narrow', 0, -1, 0, {true}, {true}, 'mapped', '10.0.0.0/8
nonsense
192.0.2.7', '', NULL),
    (11, 3, '{key11}', 1, 'of another group', 0, -1, 1, {false}, {false}, '', '', 'vip', NULL),
    (12, 10, '{key12}', 3, 'expired', 0, 1700000000, 5, {true}, {false}, '', '', '', NULL),
    (13, 10, 'short', 1, 'short', 0, -1, 5, {true}, {false}, '', '', '', NULL);

INSERT INTO "channels" ("id", "type", "key", "status", "name", "weight", "base_url", "other", "models", "group", "model_mapping", "priority", "setting", "channel_info") VALUES
    (1, 1, 'sk-upstream-one
sk-upstream-two', 1, 'main', 0, '{provider}', '', 'old-model,mapped,unpriced,tiered', 'default,vip,svip', '{"mapped":"middle","middle":"upstream-real"}', 5, '', '{"is_multi_key":true}'),
    (2, 999, 'k', 1, 'of a fork', 0, 'https://fork.example', '', 'old-model', 'default,vip,svip', '', 0, '', NULL),
    (3, 33, 'ak|sk|region', 1, 'bedrock', 0, '', '', 'old-model', 'default,vip,svip', NULL, 0, '{"proxy":"socks5://user:secret@x"}', NULL),
    (4, 14, 'sk-ant', 3, 'main', 0, '', '', 'old-model', 'default,vip,svip', '[]', 0, '', NULL),
    (5, 24, 'g', 1, 'gold', 0, '', '', 'old-model', 'vip', '', 0, '', NULL);

INSERT INTO "options" ("key", "value") VALUES
    ('ModelRatio', '{"old-model": 1, "mapped": 2.5, "tiered": 1, "gpt-4-gizmo-*": 15}'),
    ('CompletionRatio', '{"old-model": 3, "mapped": 2}'),
    ('GroupRatio', '{"default": 1, "vip": 0.5}'),
    ('billing_setting.billing_mode', '{"tiered": "tiered_expr"}'),
    ('SMTPToken', 'a secret of the old site');

INSERT INTO "redemptions" ("id", "key", "status", "name", "quota", "expired_time") VALUES
    (1, '0123456789abcdef0123456789abcdef', 1, 'fair', 5000, 0), (2, '1123456789abcdef0123456789abcdef', 3, 'fair', 7, 0),
    (3, '2123456789abcdef0123456789abcdef', 1, 'fair', 7, 1760000000), (4, '3123456789ABCDEF0123456789abcdef', 1, 'fair', 5000, 4102444800),
    (5, '4123456789abcdef0123456789abcdef', 1, 'fair', 0, 0);

INSERT INTO "top_ups" ("id", "user_id", "amount", "money", "trade_no", "payment_method", "create_time", "complete_time", "status") VALUES
    (1, 2, 50, 365.25, 'USR2NOabc', 'alipay', 1760000200, 1760000300, 'success'),
    (2, 3, 10, 73, 'USR3NOdef', 'wxpay', 1760000400, 0, 'pending'),
    (3, 3, 10, 73, 'USR2NOabc', 'wxpay', 1760000500, 1760000100, 'success'),
    (4, 99, 10, 73, 'USR99NOghi', 'wxpay', 1760000500, 1760000600, 'success');

INSERT INTO "logs" ("id", "user_id", "created_at", "type", "quota") VALUES
    (1, 2, 1760000700, 2, 1200), (2, 2, 1760000800, 6, 200), (3, 10, 1760000900, 2, 500), (4, 2, 1760000900, 1, 25000000);
INSERT INTO "two_fas" ("id", "user_id", "secret") VALUES (1, 2, 'JBSWY3DPEHPK3PXP');
