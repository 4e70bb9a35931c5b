// Conversations as the chat models were trained to see them.
#pragma once

#include <loupe/core/error.hpp>
#include <loupe/core/types.hpp>
#include <loupe/io/tokenizer.hpp>
#include <loupe/io/utf8.hpp>

#include <fmt/core.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace loupe::io {

/// One turn of a conversation. Roles: user, model (or assistant), system (or developer).
struct chat_turn {
    std::string role, text;
};

namespace detail {

/// `text` without the thoughts `<|channel>…<channel|>` of earlier answers, which the templates leave out. Of what lies before a close, or
/// before the end, only the part before the first open stays: a thought that was cut off is none of the answer.
inline std::string without_thoughts(std::string_view text) {
    constexpr std::string_view open = "<|channel>", close = "<channel|>";
    std::string out;
    for (;;) {
        const std::size_t end = text.find(close);
        const std::string_view part = text.substr(0, end);
        out += part.substr(0, part.find(open));
        if (end == std::string_view::npos) return out;
        text.remove_prefix(end + close.size());
    }
}

/// The id of a control token, if `text` is one: ordinary text at the same id does not count.
inline std::optional<token_id> control_token(const tokenizer& tokens, std::string_view text) {
    const std::optional<token_id> id = tokens.find(text);
    if (!id || (!tokens.is_control(*id) && tokens.kind(*id) != token_kind::user_defined)) return std::nullopt;
    return id;
}

} // namespace detail

/// The ids of a conversation up to the place where the model answers, BOS first. Gemma 4: `<|turn>role\n…<turn|>\n` for each turn, then
/// `<|turn>model\n`, and an empty thought `<|channel>thought\n<channel|>` if the file's chat template has one; Gemma 3: the same with
/// `<start_of_turn>` and `<end_of_turn>`, a system turn in front of the first user turn's text. Which one: by the control tokens of the
/// vocabulary. Texts are trimmed, and control tokens spelled out in them are plain text, so that nobody can forge a turn; user-defined
/// tokens are matched in any text. Errors: no turns, a vocabulary without turn tokens, a role that is no single word, texts that are not
/// UTF-8; for Gemma 3 also a system turn that is not the first or has no user turn behind it, and other roles than the four named.
inline std::vector<token_id> chat_prompt(const tokenizer& tokens, const std::vector<chat_turn>& turns) {
    if (turns.empty()) throw error("chat: expected at least one turn, found none");
    std::optional<token_id> open = detail::control_token(tokens, "<|turn>"), close = detail::control_token(tokens, "<turn|>");
    const bool gemma4 = open && close;
    if (!gemma4) {
        open = detail::control_token(tokens, "<start_of_turn>");
        close = detail::control_token(tokens, "<end_of_turn>");
    }
    if (!open || !close)
        throw error(
            "chat: expected a vocabulary with the control tokens <|turn> and <turn|>, or <start_of_turn> and <end_of_turn>; found neither");

    std::vector<token_id> ids{tokens.bos()};
    const auto append = [&](const std::string& text) {
        const std::vector<token_id> more = tokens.encode(text, control_text::ignore);
        ids.insert(ids.end(), more.begin(), more.end());
    };
    std::string system; // Gemma 3 only
    bool system_waits = false;
    for (std::size_t i = 0; i < turns.size(); ++i) {
        std::string role = turns[i].role;
        if (role == "assistant") role = "model";
        if (role == "developer") role = "system";
        // A role with a newline or a bracket in it could pose as a header.
        if (role.empty() || role.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != std::string::npos)
            throw error(fmt::format("chat: turn {}: expected a role of letters and digits, found {}", i, detail::shown(role)));
        std::string text = turns[i].text;
        if (gemma4 && role == "model") text = detail::without_thoughts(text);
        text = std::string(trim_space(text));
        if (!gemma4) {
            if (role == "system") {
                if (i != 0) throw error(fmt::format("chat: turn {}: expected a system turn only in front, found another", i));
                system = text;
                system_waits = true;
                continue;
            }
            if (role != "user" && role != "model")
                throw error(fmt::format("chat: turn {}: expected the role user, model or system, found {}", i, detail::shown(role)));
            if (role == "user" && system_waits) {
                text = std::string(system).append("\n\n").append(text);
                system_waits = false;
            }
        }
        ids.push_back(*open);
        append(std::string(role).append("\n").append(text));
        ids.push_back(*close);
        append("\n");
    }
    if (system_waits) throw error("chat: expected a user turn behind the system turn, found none");
    ids.push_back(*open);
    append(gemma4 && tokens.empty_thought() ? "model\n<|channel>thought\n<channel|>" : "model\n");
    return ids;
}

} // namespace loupe::io
