//! Requests, as they are read from callers.

use super::Case;
use super::Expected::{At, Holds, Notes, Nothing, Refuses};

const HEADING: &str = "Requests: what is read from callers";
const CHAT: &str = "chat completions";
const RESPONSES: &str = "responses";
const MESSAGES: &str = "messages";
const GEMINI: &str = "Gemini";
const OPUS: &[&str] = &["claude-opus-4-5"];
const FLASH: &[&str] = &["gemini-2.5-flash"];
const OPENAI: &[&str] = &["openai"];

#[rustfmt::skip]
#[test]
fn every_cell_of_what_is_read_is_as_the_document_says() {
    let mut cases = Vec::new();
    let mut row = "";
    let mut case = |name: &'static str, from, fields, to, expected: &'static [_]| {
        if !name.is_empty() {
            row = name;
        }
        cases.push(Case { row, column: from, from, fields, to, expected });
    };

    case("instructions", CHAT, r#""messages":[{"role":"system","content":"a"},{"role":"developer","content":"b"},{"role":"user","content":"hi"},{"role":"system","content":"late"}]"#, OPUS,
        &[At("/system/0/text", r#""a""#), At("/system/1/text", r#""b""#), At("/system/2/text", r#""late""#), Notes("messages[] (the place of a system message within the conversation)")]);
    case("", RESPONSES, r#""instructions":"a","input":[{"role":"user","content":"hi"},{"role":"system","content":"late"}]"#, OPUS,
        &[At("/system/0/text", r#""a""#), At("/system/1/text", r#""late""#), Notes("input[] (the place of a system message within the conversation)")]);
    case("", MESSAGES, r#""system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]"#, OPENAI,
        &[At("/messages/0/role", r#""system""#), At("/messages/0/content", r#""a""#), Notes("cache_control")]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":"hi"},{"role":"system","content":"late"}]"#, &[],
        &[Holds("late"), Notes("messages[] (the place of a system message within the conversation)")]);
    case("", GEMINI, r#""systemInstruction":{"parts":[{"text":"a"}]}"#, OPENAI, &[At("/messages/0/role", r#""system""#), At("/messages/0/content", r#""a""#)]);
    case("", GEMINI, r#""systemInstruction":{"parts":[{"inlineData":{"mimeType":"image/png","data":"QQ=="}}]}"#, &[], &[Refuses("`systemInstruction.parts[0]`")]);

    case("text, images by data or address", CHAT, r#""messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}},{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]"#, OPUS,
        &[At("/messages/0/content/0/text", r#""a""#), At("/messages/0/content/1/source/data", r#""QQ==""#), At("/messages/0/content/2/source/url", r#""https://x/y.png""#)]);
    case("", RESPONSES, r#""input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"data:image/png;base64,QQ=="},{"type":"input_image","image_url":"https://x/y.png"}]}]"#, FLASH,
        &[At("/contents/0/parts/0/text", r#""a""#), At("/contents/0/parts/1/inlineData/data", r#""QQ==""#), At("/contents/0/parts/2/fileData/fileUri", r#""https://x/y.png""#)]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QQ=="}},{"type":"image","source":{"type":"url","url":"https://x/y.png"}}]}]"#, OPENAI,
        &[At("/messages/0/content/0/text", r#""a""#), At("/messages/0/content/1/image_url/url", r#""data:image/png;base64,QQ==""#), At("/messages/0/content/2/image_url/url", r#""https://x/y.png""#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"QQ=="}},{"fileData":{"mimeType":"image/png","fileUri":"https://x/y"}}]}]"#, OPENAI,
        &[At("/messages/0/content/0/text", r#""a""#), At("/messages/0/content/1/image_url/url", r#""data:image/png;base64,QQ==""#), At("/messages/0/content/2/image_url/url", r#""https://x/y""#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"fileData":{"fileUri":"https://x/y"}}]}]"#, &[], &[Refuses("`contents[0].parts[0].fileData.mimeType`")]);

    case("sound", CHAT, r#""messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}]}]"#, FLASH,
        &[At("/contents/0/parts/0/inlineData", r#"{"mimeType":"audio/wav","data":"QQ=="}"#)]);
    case("", RESPONSES, r#""input":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}]}]"#, FLASH,
        &[At("/contents/0/parts/0/inlineData", r#"{"mimeType":"audio/wav","data":"QQ=="}"#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"inlineData":{"mimeType":"audio/wav","data":"QQ=="}}]}]"#, OPENAI,
        &[At("/messages/0/content/0/input_audio", r#"{"data":"QQ==","format":"wav"}"#)]);

    case("documents", CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,QQ=="}}]}]"#, OPUS,
        &[At("/messages/0/content/0/source/data", r#""QQ==""#), At("/messages/0/content/0/title", r#""a.pdf""#)]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]"#, &[], &[Refuses("another provider keeps")]);
    case("", RESPONSES, r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"},{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,QQ=="}]}]"#, OPENAI,
        &[At("/messages/0/content/0/file/file_id", r#""file-1""#), At("/messages/0/content/1/file/filename", r#""a.pdf""#)]);
    case("", RESPONSES, r#""input":[{"role":"user","content":[{"type":"input_file","file_url":"https://x/y.pdf"}]}]"#, OPUS, &[At("/messages/0/content/0/source/url", r#""https://x/y.pdf""#)]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":[{"type":"document","title":"T","context":"C","citations":{"enabled":true},"source":{"type":"text","media_type":"text/plain","data":"words"}}]}]"#, &[],
        &[Holds(r#""words""#), Notes("messages[].content[].title"), Notes("messages[].content[].context"), Notes("messages[].content[].citations")]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"QQ=="}},{"type":"document","source":{"type":"url","url":"https://x/y"}}]}]"#, FLASH,
        &[At("/contents/0/parts/0/inlineData/data", r#""QQ==""#), At("/contents/0/parts/1/fileData", r#"{"mimeType":"application/pdf","fileUri":"https://x/y"}"#)]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]"#, &[], &[Refuses("another provider")]);
    case("", GEMINI, r#""contents":[{"parts":[{"inlineData":{"mimeType":"application/pdf","data":"QQ==","displayName":"a.pdf"}}]}]"#, OPENAI,
        &[At("/messages/0/content/0/file", r#"{"filename":"a.pdf","file_data":"data:application/pdf;base64,QQ=="}"#)]);

    case("", GEMINI, r#""contents":[{"parts":[{"fileData":{"mimeType":"application/pdf","fileUri":"files/1"}}]}]"#, &[], &[Refuses("another provider")]);

    case("assistant's thoughts", CHAT, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":"t","reasoning_content":"hm"},{"role":"user","content":"q"},{"role":"assistant","content":"t","reasoning":"ha"}]"#, FLASH,
        &[At("/contents/1/parts/0", r#"{"text":"hm","thought":true}"#), At("/contents/3/parts/0", r#"{"text":"ha","thought":true}"#)]);
    case("", CHAT, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":"t","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"}]},{"role":"user","content":"q"},{"role":"assistant","content":"t","reasoning_details":[{"type":"reasoning.text","text":"ha","signature":"z"}]}]"#, OPUS,
        &[At("/messages/1/content/0/signature", r#""s""#), At("/messages/1/content/1/data", r#""d""#), At("/messages/3/content/0/signature", r#""z""#)]);
    case("", RESPONSES, r#""input":[{"role":"user","content":"q"},{"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"s"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"t","annotations":[]}]}]"#, OPUS,
        &[At("/messages/1/content/0", r#"{"type":"thinking","thinking":"hm","signature":"s"}"#)]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"t"}]}]"#, OPENAI,
        &[At("/messages/1/reasoning_content", r#""hm""#), At("/messages/1/thinking_blocks/0/signature", r#""s""#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"text":"hm","thought":true,"thoughtSignature":"QUJD"},{"text":"t"}]}]"#, OPUS,
        &[At("/messages/1/content/0", r#"{"type":"thinking","thinking":"hm","signature":"QUJD"}"#)]);

    case("calls of tools", CHAT, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"type":"function","index":0,"function":{"name":"f","arguments":"{\"z\":1.0, \"a\":2}"}}]},{"role":"tool","content":"r"}]"#, FLASH,
        &[At("/contents/1/parts/0/functionCall/id", r#""call_1""#), Holds(r#""args":{"z":1.0, "a":2}"#), At("/contents/2/parts/0/functionResponse/id", r#""call_1""#)]);
    case("", CHAT, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"c1","function":{"name":"f","arguments":"[1]"}}]}]"#, &[], &[Refuses("`messages[1].tool_calls[0].function.arguments`")]);
    case("", RESPONSES, r#""input":[{"role":"user","content":"q"},{"type":"function_call","call_id":"c1","id":"fc_9","name":"f","arguments":"{}"},{"type":"function_call","call_id":"c2","name":"f","arguments":"{}"}]"#, OPENAI,
        &[At("/messages/1/tool_calls/0/id", r#""c1""#), At("/messages/1/tool_calls/1/id", r#""c2""#), Nothing("/messages/2")]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"z":1.0, "a":2}}]}]"#, OPENAI,
        &[At("/messages/1/tool_calls/0/id", r#""c1""#), Holds(r#""arguments":"{\"z\":1.0, \"a\":2}""#)]);
    case("", GEMINI, r#""contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"z":1.0}}}]}]"#, OPENAI,
        &[At("/messages/1/tool_calls/0/id", r#""call_0""#), Holds(r#"{\"z\":1.0}"#)]);

    case("results of tools", CHAT, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"r"},{"role":"user","content":"so"}]"#, OPUS,
        &[At("/messages/2/content/0/type", r#""tool_result""#), At("/messages/2/content/0/tool_use_id", r#""c1""#), At("/messages/2/content/1/text", r#""so""#)]);
    case("", CHAT, r#""messages":[{"role":"tool","tool_call_id":"c1","content":"r"}]"#, &[], &[Refuses("`messages[0].tool_call_id` names no call")]);
    case("", RESPONSES, r#""input":[{"role":"user","content":"q"},{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"r"},{"role":"user","content":"so"}]"#, OPUS,
        &[At("/messages/2/content/0/tool_use_id", r#""c1""#), At("/messages/2/content/1/text", r#""so""#)]);
    case("", RESPONSES, r#""input":[{"type":"function_call_output","call_id":"c1","output":"r"}]"#, &[], &[Refuses("`input[0].call_id` names no call")]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"r"}]}]"#, OPENAI,
        &[At("/messages/2", r#"{"role":"tool","tool_call_id":"c1","content":"r"}"#)]);
    case("", MESSAGES, r#""messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"r"}]}]"#, &[], &[Refuses("tool_use_id` refers to no call")]);
    case("", GEMINI, r#""contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"name":"f"}},{"functionCall":{"id":"x","name":"f"}}]},{"parts":[{"functionResponse":{"id":"x","name":"f","response":{"result":"2"}}},{"functionResponse":{"name":"f","response":{"result":"1"}}}]}]"#, OPENAI,
        &[At("/messages/2/tool_call_id", r#""x""#), At("/messages/2/content", r#""2""#), At("/messages/3/tool_call_id", r#""call_0""#), At("/messages/3/content", r#""1""#)]);

    case("tools", CHAT, r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"b":1.0,"a":{}}}}],"functions":[{"name":"g"}]"#, OPUS,
        &[At("/tools/0/name", r#""f""#), Holds(r#"{"b":1.0,"a":{}}"#), At("/tools/1/name", r#""g""#)]);
    case("", CHAT, r#""tools":[{"type":"custom","custom":{"name":"x"}}]"#, &[], &[Refuses("`tools[0].type`")]);
    case("", RESPONSES, r#""tools":[{"type":"function","name":"f","parameters":{"b":1.0,"a":{}}}]"#, &[], &[Holds(r#""f""#), Holds(r#"{"b":1.0,"a":{}}"#)]);
    case("", RESPONSES, r#""tools":[{"type":"file_search"}]"#, &[], &[Refuses("`tools[0].type`")]);
    case("", RESPONSES, r#""tools":[{"type":"custom","name":"x"}]"#, &[], &[Refuses("`tools[0].type`")]);
    case("", MESSAGES, r#""tools":[{"name":"f","input_schema":{"b":1.0,"a":{}}}]"#, &[], &[Holds(r#""f""#), Holds(r#"{"b":1.0,"a":{}}"#)]);
    case("", MESSAGES, r#""tools":[{"type":"bash_20250124","name":"bash"}]"#, &[], &[Refuses("`tools.0`")]);
    case("", MESSAGES, r#""mcp_servers":[{"type":"url","url":"https://x"}]"#, &[], &[Refuses("`mcp_servers`")]);
    case("", GEMINI, r#""tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}},{"name":"g","parametersJsonSchema":{"b":1.0,"a":{}}}]}]"#, &[], &[Holds(r#""f""#), Holds(r#""type":"object""#), Holds(r#"{"b":1.0,"a":{}}"#)]);
    case("", GEMINI, r#""tools":[{"codeExecution":{}}]"#, &[], &[Refuses("`tools[0].codeExecution`")]);

    case("choice of a tool, parallel calls", CHAT, r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false"#, OPUS,
        &[At("/tool_choice", r#"{"type":"tool","name":"f","disable_parallel_tool_use":true}"#)]);
    case("", RESPONSES, r#""tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false"#, OPUS,
        &[At("/tool_choice", r#"{"type":"tool","name":"f","disable_parallel_tool_use":true}"#)]);
    case("", MESSAGES, r#""tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}"#, OPENAI,
        &[At("/tool_choice", r#""required""#), At("/parallel_tool_calls", "false")]);
    case("", GEMINI, r#""tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}"#, OPENAI,
        &[At("/tool_choice/function/name", r#""f""#)]);
    case("", GEMINI, r#""tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"AUTO","allowedFunctionNames":["f"]}}"#, OPENAI,
        &[At("/tool_choice", r#""auto""#), Notes("toolConfig.functionCallingConfig.allowedFunctionNames")]);

    case("cap on the output", CHAT, r#""max_tokens":5,"max_completion_tokens":7"#, OPUS, &[At("/max_tokens", "7")]);
    case("", CHAT, r#""max_tokens":9,"max_completion_tokens":7"#, FLASH, &[At("/generationConfig/maxOutputTokens", "9")]);
    case("", RESPONSES, r#""max_output_tokens":7"#, OPUS, &[At("/max_tokens", "7")]);
    case("", MESSAGES, r#""max_tokens":7"#, OPENAI, &[At("/max_tokens", "7")]);
    case("", GEMINI, r#""generationConfig":{"maxOutputTokens":7}"#, OPENAI, &[At("/max_tokens", "7")]);

    case("several answers", CHAT, r#""n":2"#, FLASH, &[At("/generationConfig/candidateCount", "2")]);
    case("", GEMINI, r#""generationConfig":{"candidateCount":2}"#, OPENAI, &[At("/n", "2")]);

    case("JSON answers", CHAT, r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1.0,"a":2},"strict":true}}"#, FLASH,
        &[At("/generationConfig/responseMimeType", r#""application/json""#), Holds(r#"{"b":1.0,"a":2}"#)]);
    case("", RESPONSES, r#""text":{"format":{"type":"json_schema","name":"n","schema":{"b":1.0,"a":2}}}"#, &[], &[Holds(r#"{"b":1.0,"a":2}"#)]);
    case("", MESSAGES, r#""output_config":{"format":{"type":"json_schema","schema":{"b":1.0,"a":2}}}"#, &[], &[Holds(r#"{"b":1.0,"a":2}"#)]);
    case("", MESSAGES, r#""output_format":{"type":"json_schema","schema":{"b":1.0,"a":2}}"#, &[], &[Holds(r#"{"b":1.0,"a":2}"#)]);
    case("", GEMINI, r#""generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT"}}"#, &[], &[Holds(r#""type":"object""#)]);
    case("", GEMINI, r#""generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"b":1.0,"a":2}}"#, &[], &[Holds(r#"{"b":1.0,"a":2}"#)]);
    case("", GEMINI, r#""generationConfig":{"responseMimeType":"text/x.enum"}"#, &[], &[Refuses("`generationConfig.responseMimeType`")]);

    case("reasoning", CHAT, r#""reasoning_effort":"low""#, FLASH, &[At("/generationConfig/thinkingConfig/thinkingBudget", "2048")]);
    case("", CHAT, r#""thinking":{"type":"enabled","budget_tokens":3000}"#, FLASH, &[At("/generationConfig/thinkingConfig/thinkingBudget", "3000")]);
    case("", CHAT, r#""reasoning":{"max_tokens":3000,"enabled":true,"exclude":true}"#, FLASH, &[At("/generationConfig/thinkingConfig/thinkingBudget", "3000"), Notes("reasoning.exclude")]);
    case("", CHAT, r#""reasoning_effort":"low","thinking":{"type":"disabled"},"reasoning":{"effort":"high"}"#, FLASH,
        &[At("/generationConfig/thinkingConfig/thinkingBudget", "2048"), Notes("thinking"), Notes("reasoning")]);
    case("", RESPONSES, r#""reasoning":{"effort":"low","summary":"auto"}"#, FLASH, &[At("/generationConfig/thinkingConfig/thinkingBudget", "2048")]);
    case("", MESSAGES, r#""thinking":{"type":"enabled","budget_tokens":2000}"#, OPENAI, &[At("/reasoning_effort", r#""low""#)]);
    case("", MESSAGES, r#""thinking":{"type":"adaptive"},"output_config":{"effort":"high"}"#, OPENAI, &[At("/reasoning_effort", r#""high""#)]);
    case("", GEMINI, r#""generationConfig":{"thinkingConfig":{"thinkingBudget":2000,"includeThoughts":true}}"#, OPENAI, &[At("/reasoning_effort", r#""low""#)]);
    case("", GEMINI, r#""generationConfig":{"thinkingConfig":{"thinkingLevel":"HIGH","thinkingBudget":1}}"#, OPENAI, &[At("/reasoning_effort", r#""high""#), Notes("generationConfig.thinkingConfig.thinkingBudget")]);

    case("end user", CHAT, r#""user":"u""#, OPUS, &[At("/metadata/user_id", r#""u""#)]);
    case("", CHAT, r#""safety_identifier":"u""#, OPUS, &[At("/metadata/user_id", r#""u""#)]);
    case("", CHAT, r#""user":"u","safety_identifier":"s""#, OPUS, &[At("/metadata/user_id", r#""u""#), Notes("safety_identifier")]);
    case("", RESPONSES, r#""user":"u""#, OPUS, &[At("/metadata/user_id", r#""u""#)]);
    case("", RESPONSES, r#""safety_identifier":"u""#, OPUS, &[At("/metadata/user_id", r#""u""#)]);
    case("", MESSAGES, r#""metadata":{"user_id":"u","x":1}"#, OPENAI, &[At("/user", r#""u""#), Notes("metadata.x")]);

    case("sound as answer, web search", CHAT, r#""modalities":["text","audio"]"#, &[], &[Refuses("`modalities`")]);
    case("", CHAT, r#""audio":{"voice":"x"}"#, &[], &[Refuses("`audio`")]);
    case("", CHAT, r#""web_search_options":{}"#, &[], &[Refuses("`web_search_options`")]);
    case("", RESPONSES, r#""tools":[{"type":"web_search"}]"#, &[], &[Refuses("`tools[0].type`")]);
    case("", MESSAGES, r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#, &[], &[Refuses("`tools.0`")]);
    case("", GEMINI, r#""generationConfig":{"responseModalities":["AUDIO"]}"#, &[], &[Refuses("`generationConfig.responseModalities`")]);
    case("", GEMINI, r#""tools":[{"googleSearch":{}}]"#, &[], &[Refuses("`tools[0].googleSearch`")]);

    case("state kept at the provider", RESPONSES, r#""previous_response_id":"r""#, &["responses", "openai", "claude-opus-4-5", "gemini-2.5-flash"], &[Refuses("`previous_response_id`")]);
    case("", RESPONSES, r#""conversation":"c""#, &["responses", "openai", "claude-opus-4-5", "gemini-2.5-flash"], &[Refuses("`conversation`")]);
    case("", RESPONSES, r#""prompt":{"id":"p"}"#, &["responses", "openai", "claude-opus-4-5", "gemini-2.5-flash"], &[Refuses("`prompt`")]);
    case("", RESPONSES, r#""input":[{"type":"item_reference","id":"x"}]"#, &["responses", "openai", "claude-opus-4-5", "gemini-2.5-flash"], &[Refuses("`input`")]);
    case("", MESSAGES, r#""container":"c""#, &[], &[Notes("container")]);
    case("", GEMINI, r#""cachedContent":"cachedContents/1""#, &[], &[Refuses("`cachedContent`")]);

    case("`background`", RESPONSES, r#""background":true"#, &["responses", "openai", "claude-opus-4-5", "gemini-2.5-flash"], &[Refuses("`background`")]);

    let last = "`logprobs`, `logit_bias`, `store`, `metadata`, `service_tier`, `prediction`, unknown fields wherever they stand";
    case(last, CHAT, r#""logprobs":true,"logit_bias":{"1":2},"store":true,"metadata":{"a":"b"},"service_tier":"flex","prediction":{},"novel":1"#, &[],
        &[Notes("logprobs"), Notes("logit_bias"), Notes("store"), Notes("metadata"), Notes("service_tier"), Notes("prediction"), Notes("novel")]);
    case("", CHAT, r#""logprobs":false,"logit_bias":{},"store":false,"metadata":{},"service_tier":"auto","prediction":null"#, &[], &[]);
    case("", CHAT, r#""messages":[{"role":"user","name":"x","content":[{"type":"text","text":"a","m":1},{"type":"text","text":"b","m":1}]}],"tools":[{"type":"function","t":1,"function":{"name":"f","u":1}}],"tool_choice":{"type":"function","function":{"name":"f"},"v":1}"#, &[],
        &[Notes("messages[].name"), Notes("messages[].content[].m"), Notes("tools[].t"), Notes("tools[].function.u"), Notes("tool_choice.v")]);
    case("", CHAT, r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ==","i":1}},{"type":"file","file":{"file_data":"data:application/pdf;base64,QQ==","f":1}}]},{"role":"assistant","tool_calls":[{"id":"c","c":1,"function":{"name":"f","arguments":"{}","g":1}}]}],"response_format":{"type":"json_schema","r":1,"json_schema":{"name":"n","schema":{},"s":1}},"thinking":{"type":"adaptive","t":1}"#, FLASH,
        &[Notes("messages[].content[].image_url.i"), Notes("messages[].content[].file.f"), Notes("messages[].tool_calls[].c"), Notes("messages[].tool_calls[].function.g"), Notes("response_format.r"), Notes("response_format.json_schema.s"), Notes("thinking.t")]);
    case("", CHAT, r#""messages":[{"role":"user","cache_control":{"type":"ephemeral"},"content":[{"type":"text","text":"a"}]}]"#, &[], &[Notes("messages[].cache_control")]);
    case("", RESPONSES, r#""logit_bias":{"1":2},"store":true,"metadata":{"a":"b"},"service_tier":"flex","top_logprobs":2,"novel":1"#, &[],
        &[Notes("logit_bias"), Notes("store"), Notes("metadata"), Notes("service_tier"), Notes("top_logprobs"), Notes("novel")]);
    case("", RESPONSES, r#""input":[{"role":"user","i":1,"content":[{"type":"input_text","text":"a","m":1}]}],"tools":[{"type":"function","name":"f","t":1}],"tool_choice":{"type":"function","name":"f","v":1},"text":{"format":{"type":"text","r":1},"verbosity":"low"},"reasoning":{"e":1}"#, &[],
        &[Notes("input[].i"), Notes("input[].content[].m"), Notes("tools[].t"), Notes("tool_choice.v"), Notes("text.format.r"), Notes("text.verbosity"), Notes("reasoning.e")]);
    case("", MESSAGES, r#""service_tier":"auto","novel":1"#, &[], &[Notes("service_tier"), Notes("novel")]);
    case("", MESSAGES, r#""system":[{"type":"text","text":"a","s":1}],"messages":[{"role":"user","n":1,"content":[{"type":"text","text":"a","m":1},{"type":"image","i":1,"source":{"type":"base64","media_type":"image/png","data":"QQ==","d":1}},{"type":"search_result","title":"T","source":"s","r":1,"content":[{"type":"text","text":"x","y":1}]}]},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{},"u":1}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","v":1,"content":[{"type":"text","text":"r","w":1}]}]}],"tools":[{"name":"f","t":1}],"tool_choice":{"type":"auto","c":1},"thinking":{"type":"adaptive","display":"omitted"}"#, &[],
        &[Notes("system[].s"), Notes("messages[].n"), Notes("messages[].content[].m"), Notes("messages[].content[].i"), Notes("messages[].content[].source.d"), Notes("messages[].content[].r"), Notes("messages[].content[].content[].y"), Notes("messages[].content[].u"), Notes("messages[].content[].v"), Notes("messages[].content[].content[].w"), Notes("tools[].t"), Notes("tool_choice.c"), Notes("thinking.display")]);
    case("", GEMINI, r#""safetySettings":[{}],"novel":1,"contents":[{"parts":[{"text":"a","videoMetadata":{}}]}],"generationConfig":{"responseLogprobs":true}"#, &[],
        &[Notes("safetySettings"), Notes("novel"), Notes("contents[].parts[].videoMetadata"), Notes("generationConfig.responseLogprobs")]);

    super::assert_all(HEADING, &cases);
}
