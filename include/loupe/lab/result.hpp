// What an ablation yields: plain values that reports are made of.
#pragma once

#include <loupe/core/types.hpp>

#include <string>
#include <vector>

namespace loupe::lab {

/// A figure with its 95 % interval.
struct estimate {
    double value = 0;
    double low = 0;
    double high = 0;
};

/// Answers of one kind of task (a span is right if every token of it is the most likely one).
struct task_result {
    std::string kind;
    index_t spans = 0;
    index_t spans_right = 0;
    index_t tokens = 0;
    index_t tokens_right = 0;
    double mean_nll = 0;           ///< nats per token of the spans
    estimate accuracy;             ///< share of spans that are right, clustered by document
    estimate accuracy_change;      ///< paired with the stock model, on the same spans; zero for the stock model
    index_t flips = 0;             ///< spans whose verdict differs from the stock model's
    index_t documents = 0;         ///< lines of the task file that hold its spans
    index_t changed_documents = 0; ///< those of them with more or fewer right spans than the stock model's
};

/// One variant measured on a text and on tasks, paired with the stock model on the same tokens.
struct variant_result {
    std::string id;          ///< as in `--variants`
    std::string explanation; ///< one line
    std::string difference;  ///< what differs from the stock composition, as diff<> prints it; empty for the stock model
    index_t tokens = 0;      ///< tokens of the text that were scored
    estimate mean_nll;       ///< nats per token
    estimate perplexity;
    estimate perplexity_change; ///< ratio to the stock model's perplexity minus one, paired
    estimate mean_kl;           ///< KL(stock || variant), nats per token
    estimate top1_agreement;    ///< share of tokens with the same most likely next token as the stock model
    double top1_accuracy = 0;
    double bits_per_byte = 0;
    std::vector<task_result> tasks; ///< sorted by kind
    index_t bytes = 0;              ///< of the weights this variant reads
    double tokens_per_second = 0;
};

/// A whole ablation. The first variant is the stock model.
struct report {
    std::string model;     ///< name of the stock composition, e.g. "nano-e"
    std::string file;      ///< the model file or folder, as given
    std::string text;      ///< the text's name; empty if only tasks were run
    std::string tasks;     ///< the task file's name; empty if only a text was run
    index_t documents = 0; ///< clusters of the text's bootstrap
    index_t context = 0;
    index_t threads = 0;
    std::string machine; ///< processor, compiler and flags, in one line
    double seconds = 0;
    std::vector<variant_result> variants;
};

} // namespace loupe::lab
