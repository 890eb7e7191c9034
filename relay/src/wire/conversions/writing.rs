//! Requests, as they are written to providers.

use super::Case;
use super::Expected::{At, Holds, Notes, Nothing, Refuses};

const HEADING: &str = "Requests: what is written to providers";
const CHAT: &str = "chat completions";
const MESSAGES: &str = "messages";
const GEMINI: &str = "Gemini";

#[rustfmt::skip]
#[test]
fn every_cell_of_what_is_written_is_as_the_document_says() {
    let mut cases = Vec::new();
    let mut row = "";
    let mut case = |name: &'static str, from, fields, to: &'static [&'static str], expected: &'static [_]| {
        if !name.is_empty() {
            row = name;
        }
        let column = match to[0] {
            to if to.starts_with("claude") => "to `claude`",
            to if to.starts_with("gemini") => "to `gemini`",
            _ => "to `openai`",
        };
        cases.push(Case { row, column, from, fields, to, expected });
    };
    const OPENAI: &[&str] = &["openai"];
    const OPENAI_ITSELF: &[&str] = &["openai.com"];
    const OPUS: &[&str] = &["claude-opus-4-5"];
    const NEW_OPUS: &[&str] = &["claude-opus-4-8"];
    const OLD_OPUS: &[&str] = &["claude-opus-4-20250514"];
    const FLASH: &[&str] = &["gemini-2.5-flash"];
    const THIRD: &[&str] = &["gemini-3-flash-preview"];

    case("turns", GEMINI, r#""contents":[{"parts":[{"text":"a"}]},{"parts":[{"text":"b"}]}]"#, OPENAI, &[At("/messages/0/content", r#""a""#), At("/messages/1/content", r#""b""#)]);
    case("", CHAT, r#""messages":[{"role":"assistant","content":"t"},{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":" "},{"type":"text","text":"b"}]}]"#, OPUS,
        &[At("/messages/0/role", r#""user""#), At("/messages/1/role", r#""assistant""#), At("/messages/2/content/1/text", r#""b""#), Nothing("/messages/3")]);
    case("", GEMINI, r#""contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"c","name":"f"}}]},{"parts":[{"text":"x"},{"functionResponse":{"id":"c","name":"f","response":{}}}]}]"#, OPUS, &[At("/messages/2/content/0/type", r#""tool_result""#)]);
    case("", CHAT, r#""messages":[{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"assistant","tool_calls":[{"id":"x","function":{"name":"f","arguments":"{}"}},{"id":"y","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"y","content":"2"},{"role":"tool","tool_call_id":"x","content":"1"}]"#, FLASH,
        &[At("/contents/0/parts/1/text", r#""b""#), At("/contents/2/parts/0/functionResponse/id", r#""x""#), At("/contents/2/parts/1/functionResponse/id", r#""y""#)]);

    case("images", MESSAGES, r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QQ=="}}]}]"#, OPENAI, &[At("/messages/0/content/0/image_url/url", r#""data:image/png;base64,QQ==""#)]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,QQ==","detail":"low"}},{"type":"image_url","image_url":{"url":"data:image/gif;base64,QQ==","detail":"auto"}},{"type":"image_url","image_url":{"url":"data:image/webp;base64,QQ=="}},{"type":"image_url","image_url":{"url":"https://x/y"}}]}]"#, OPUS,
        &[At("/messages/0/content/0/source/media_type", r#""image/jpeg""#), At("/messages/0/content/3/source/url", r#""https://x/y""#), Notes("image_url.detail")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/bmp;base64,QQ=="}}]}]"#, OPUS, &[Refuses("cannot read `image/bmp`")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/bmp;base64,QQ==","detail":"low"}},{"type":"image_url","image_url":{"url":"https://x/y.png?z"}}]}]"#, FLASH,
        &[At("/contents/0/parts/0/inlineData/mimeType", r#""image/bmp""#), At("/contents/0/parts/1/fileData/mimeType", r#""image/png""#), Notes("image_url.detail")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ==","detail":"auto"}}]}]"#, FLASH, &[]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y"}}]}]"#, FLASH, &[Refuses("must end like one")]);

    let named = r#""contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"QQ==","displayName":"a"}}]}]"#;
    case("images", GEMINI, named, OPENAI, &[Notes("filename")]);
    case("images", GEMINI, named, OPUS, &[Notes("filename")]);

    case("sound", GEMINI, r#""contents":[{"parts":[{"inlineData":{"mimeType":"audio/mpeg","data":"QQ=="}}]}]"#, OPENAI, &[At("/messages/0/content/0/input_audio", r#"{"data":"QQ==","format":"mp3"}"#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"fileData":{"mimeType":"audio/mpeg","fileUri":"https://x/y"}}]}]"#, OPENAI, &[Refuses("a sound at an address")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}]}]"#, OPUS, &[Refuses("audio")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}]}]"#, FLASH, &[At("/contents/0/parts/0/inlineData/mimeType", r#""audio/wav""#)]);

    case("video", GEMINI, r#""contents":[{"parts":[{"inlineData":{"mimeType":"video/mp4","data":"QQ=="}}]}]"#, OPENAI, &[Refuses("a video")]);
    case("", GEMINI, r#""contents":[{"parts":[{"inlineData":{"mimeType":"video/mp4","data":"QQ=="}}]}]"#, OPUS, &[Refuses("video")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:video/mp4;base64,QQ=="}}]}]"#, FLASH, &[At("/contents/0/parts/0/inlineData/mimeType", r#""video/mp4""#)]);

    case("documents", GEMINI, r#""contents":[{"parts":[{"inlineData":{"mimeType":"application/pdf","data":"QQ=="}}]}]"#, OPENAI, &[At("/messages/0/content/0/file/filename", r#""document.pdf""#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"fileData":{"mimeType":"application/pdf","fileUri":"https://x/y"}}]}]"#, OPENAI, &[Refuses("a document at an address")]);
    case("", GEMINI, r#""contents":[{"parts":[{"fileData":{"mimeType":"application/pdf","fileUri":"files/1"}}]}]"#, OPENAI, &[Refuses("kept at another provider")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,QQ=="}}]}]"#, OPUS, &[At("/messages/0/content/0/title", r#""a.pdf""#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"fileData":{"mimeType":"application/pdf","fileUri":"https://x/y"}}]}]"#, OPUS, &[At("/messages/0/content/0/source/url", r#""https://x/y""#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"fileData":{"mimeType":"text/csv","fileUri":"https://x/y"}}]}]"#, OPUS, &[Refuses("`text/csv`")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:text/csv;base64,QQ=="}}]}]"#, OPUS, &[Refuses("`text/csv`")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]"#, OPUS, &[Refuses("another provider keeps")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.csv","file_data":"data:text/csv;base64,QQ=="}}]}]"#, FLASH, &[At("/contents/0/parts/0/inlineData/mimeType", r#""text/csv""#), Notes("filename")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]"#, FLASH, &[Refuses("another provider keeps")]);

    let thought = r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"t"}]}]"#;
    case("thoughts", MESSAGES, thought, OPENAI, &[At("/messages/1/reasoning_content", r#""hm""#), At("/messages/1/thinking_blocks/1/data", r#""d""#)]);
    case("", MESSAGES, thought, OPENAI_ITSELF, &[Nothing("/messages/1/reasoning_content"), Nothing("/messages/1/thinking_blocks"), Notes("messages[].reasoning_content")]);
    case("", CHAT, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":"t","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"thinking","thinking":"ha"}]}]"#, OPUS,
        &[At("/messages/1/content/0/signature", r#""s""#), At("/messages/1/content/1/data", r#""d""#), At("/messages/1/content/2/text", r#""t""#), Notes("thinking")]);
    case("", MESSAGES, thought, FLASH, &[At("/contents/1/parts/0", r#"{"text":"hm","thought":true,"thoughtSignature":"s"}"#), Notes("redacted_thinking")]);

    let failed = r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","is_error":true,"content":"down"}]}]"#;
    case("failed results", MESSAGES, failed, OPENAI, &[At("/messages/2/content", r#""Error: down""#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"c","name":"f"}}]},{"parts":[{"functionResponse":{"id":"c","name":"f","response":{"error":"down"}}}]}]"#, OPUS,
        &[At("/messages/2/content/0/is_error", "true"), At("/messages/2/content/0/content", r#""down""#)]);
    case("", MESSAGES, failed, FLASH, &[At("/contents/2/parts/0/functionResponse/response", r#"{"error":"down"}"#)]);

    let seen = r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"r"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QQ=="}}]}]}]"#;
    case("images in results", MESSAGES, seen, OPENAI, &[At("/messages/2/content", r#""r""#), At("/messages/3/role", r#""user""#), At("/messages/3/content/1/image_url/url", r#""data:image/png;base64,QQ==""#)]);
    case("", CHAT, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}]}]"#, OPUS, &[At("/messages/2/content/0/content/0/source/data", r#""QQ==""#)]);
    case("", MESSAGES, seen, THIRD, &[At("/contents/2/parts/0/functionResponse/parts/0/inlineData/data", r#""QQ==""#)]);
    case("", MESSAGES, seen, FLASH, &[At("/contents/2/parts/1/inlineData/data", r#""QQ==""#), Nothing("/contents/2/parts/0/functionResponse/parts")]);

    let marked = r#""messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]"#;
    case("cache marks", MESSAGES, marked, OPENAI, &[Notes("cache_control")]);
    case("", CHAT, marked, OPUS, &[At("/messages/0/content/0/cache_control", r#"{"type":"ephemeral"}"#)]);
    case("", MESSAGES, marked, FLASH, &[Notes("cache_control")]);

    case("`strict`", MESSAGES, r#""tools":[{"name":"f","input_schema":{},"strict":true}]"#, OPENAI, &[At("/tools/0/function/strict", "true")]);
    case("", CHAT, r#""tools":[{"type":"function","function":{"name":"f","strict":true}}]"#, OPUS, &[At("/tools/0/strict", "true")]);
    case("", CHAT, r#""tools":[{"type":"function","function":{"name":"f","strict":true}}]"#, OLD_OPUS, &[Nothing("/tools/0/strict"), Notes("tools[].strict")]);
    case("", CHAT, r#""tools":[{"type":"function","function":{"name":"f","strict":true}}]"#, FLASH, &[Notes("tools[].strict")]);

    case("cap; the model's own where the caller set none", MESSAGES, r#""max_tokens":7"#, OPENAI, &[At("/max_tokens", "7"), Nothing("/max_completion_tokens")]);
    case("", MESSAGES, r#""max_tokens":7"#, OPENAI_ITSELF, &[At("/max_completion_tokens", "7"), Nothing("/max_tokens")]);
    case("", GEMINI, "", OPENAI, &[At("/max_tokens", "99")]);
    case("", CHAT, "", OPUS, &[At("/max_tokens", "99")]);
    case("", CHAT, "", FLASH, &[At("/generationConfig/maxOutputTokens", "99")]);

    case("`temperature`, `top_p`, `top_k`", MESSAGES, r#""temperature":0.50,"top_p":0.9,"top_k":4"#, OPENAI, &[At("/temperature", "0.5"), At("/top_p", "0.9"), Nothing("/top_k"), Notes("top_k")]);
    case("", CHAT, r#""temperature":1.5"#, OPUS, &[At("/temperature", "1"), Notes("temperature")]);
    case("", CHAT, r#""temperature":0.5,"top_p":0.9,"top_k":4"#, OLD_OPUS, &[At("/temperature", "0.5"), At("/top_p", "0.9"), At("/top_k", "4")]);
    case("", CHAT, r#""temperature":0.5,"top_p":0.9"#, OPUS, &[At("/temperature", "0.5"), Nothing("/top_p"), Notes("top_p")]);
    case("", CHAT, r#""temperature":0.5,"top_p":0.9,"top_k":4"#, NEW_OPUS, &[Nothing("/temperature"), Nothing("/top_p"), Nothing("/top_k"), Notes("temperature"), Notes("top_p"), Notes("top_k")]);
    case("", CHAT, r#""max_tokens":9000,"temperature":0.5,"reasoning_effort":"low""#, OPUS, &[Nothing("/temperature"), Notes("temperature")]);
    case("", CHAT, r#""temperature":1.50,"top_p":0.9,"top_k":4"#, FLASH, &[At("/generationConfig/temperature", "1.5"), At("/generationConfig/topP", "0.9"), At("/generationConfig/topK", "4")]);

    case("`seed`, penalties", GEMINI, r#""generationConfig":{"seed":3,"presencePenalty":1,"frequencyPenalty":0.5}"#, OPENAI, &[At("/seed", "3"), At("/presence_penalty", "1"), At("/frequency_penalty", "0.5")]);
    case("", CHAT, r#""seed":3,"presence_penalty":1,"frequency_penalty":0.5"#, OPUS, &[Notes("seed"), Notes("presence_penalty"), Notes("frequency_penalty")]);
    case("", CHAT, r#""presence_penalty":0,"frequency_penalty":0.0"#, OPUS, &[]);
    case("", CHAT, r#""seed":3,"presence_penalty":1,"frequency_penalty":0.5"#, FLASH, &[At("/generationConfig/seed", "3"), At("/generationConfig/presencePenalty", "1"), At("/generationConfig/frequencyPenalty", "0.5")]);

    case("`stop`", MESSAGES, r#""stop_sequences":["a"]"#, OPENAI, &[At("/stop", r#"["a"]"#)]);
    case("", CHAT, r#""stop":["a"," "]"#, OPUS, &[At("/stop_sequences", r#"["a"]"#), Notes("stop")]);
    case("", MESSAGES, r#""stop_sequences":["a","b","c","d","e"]"#, FLASH, &[At("/generationConfig/stopSequences/4", r#""e""#)]);
    case("", MESSAGES, r#""stop_sequences":["a","b","c","d","e","f"]"#, FLASH, &[Refuses("`stop` may hold at most 5")]);

    case("several answers", GEMINI, r#""generationConfig":{"candidateCount":2}"#, OPENAI, &[At("/n", "2")]);
    case("", CHAT, r#""n":2"#, OPUS, &[Refuses("`n` must be 1")]);
    case("", CHAT, r#""n":2"#, FLASH, &[At("/generationConfig/candidateCount", "2")]);

    let schema = r#""response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"b":1.0,"a":2}}}"#;
    case("JSON schema", MESSAGES, r#""output_config":{"format":{"type":"json_schema","schema":{"b":1.0,"a":2}}}"#, OPENAI, &[At("/response_format/json_schema/name", r#""answer""#), Holds(r#"{"b":1.0,"a":2}"#)]);
    case("", CHAT, schema, OPUS, &[At("/output_config/format/type", r#""json_schema""#), Holds(r#"{"b":1.0,"a":2}"#), Notes("response_format.json_schema.description")]);
    case("", CHAT, schema, FLASH, &[At("/generationConfig/responseMimeType", r#""application/json""#), Holds(r#""responseJsonSchema":{"b":1.0,"a":2}"#), Notes("response_format.json_schema.description")]);

    case("JSON without a schema", GEMINI, r#""generationConfig":{"responseMimeType":"application/json"}"#, OPENAI, &[At("/response_format", r#"{"type":"json_object"}"#)]);
    case("", CHAT, r#""response_format":{"type":"json_object"}"#, OPUS, &[Nothing("/output_config"), Notes("response_format")]);
    case("", CHAT, r#""response_format":{"type":"json_object"}"#, FLASH, &[At("/generationConfig/responseMimeType", r#""application/json""#), Nothing("/generationConfig/responseJsonSchema")]);

    case("reasoning", MESSAGES, r#""thinking":{"type":"enabled","budget_tokens":9000}"#, OPENAI, &[At("/reasoning_effort", r#""medium""#)]);
    case("", CHAT, r#""reasoning_effort":"medium""#, &["claude-opus-4-6"], &[At("/thinking", r#"{"type":"adaptive"}"#), At("/output_config/effort", r#""medium""#)]);
    case("", CHAT, r#""max_tokens":20000,"reasoning_effort":"medium""#, OPUS, &[At("/thinking", r#"{"type":"enabled","budget_tokens":8192}"#)]);
    case("", CHAT, r#""reasoning_effort":"medium","tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required""#, &["claude-opus-4-6"], &[Nothing("/thinking"), Notes("reasoning")]);
    case("", CHAT, r#""max_tokens":500,"reasoning_effort":"medium""#, OPUS, &[Nothing("/thinking"), Notes("reasoning")]);
    case("", CHAT, r#""max_tokens":20000,"reasoning_effort":"medium","messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"r"}]"#, OPUS, &[Nothing("/thinking"), Notes("reasoning")]);
    case("", CHAT, r#""reasoning_effort":"low""#, THIRD, &[At("/generationConfig/thinkingConfig/thinkingLevel", r#""low""#)]);
    case("", CHAT, r#""reasoning_effort":"low""#, FLASH, &[At("/generationConfig/thinkingConfig/thinkingBudget", "2048")]);
    case("", CHAT, r#""reasoning_effort":"none""#, FLASH, &[At("/generationConfig/thinkingConfig/thinkingBudget", "0")]);
    case("", CHAT, r#""reasoning_effort":"none""#, THIRD, &[At("/generationConfig/thinkingConfig/thinkingLevel", r#""minimal""#), Notes("reasoning")]);

    case("parallel calls off", MESSAGES, r#""tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#, OPENAI, &[At("/parallel_tool_calls", "false")]);
    case("", CHAT, r#""tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":false"#, OPUS, &[At("/tool_choice/disable_parallel_tool_use", "true")]);
    case("", CHAT, r#""tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":false"#, FLASH, &[Notes("parallel_tool_calls")]);

    case("end user", MESSAGES, r#""metadata":{"user_id":"u"}"#, OPENAI, &[At("/user", r#""u""#)]);
    case("", CHAT, r#""user":"u""#, OPUS, &[At("/metadata/user_id", r#""u""#)]);
    case("", CHAT, r#""user":"u""#, FLASH, &[Notes("user")]);

    super::assert_all(HEADING, &cases);
}
